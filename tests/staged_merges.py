"""RegMean++ by hand: which stage every parameter belongs to, and the whole model run for each."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import oracles
import torch
from test_architectures import ALPHA, solve_active, write_texts
from tiny_models import write_model
from torch import Tensor, nn

from fusion_ui.merging.recipe import MergeRecipe, parse_recipe

BLOCKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "BERT": (("bert.encoder.layer",), ("bert.pooler", "classifier")),
    "RoBERTa": (("roberta.encoder.layer",), ("classifier",)),
    "DistilBERT": (("distilbert.transformer.layer",), ("pre_classifier", "classifier")),
    "DeBERTa-v2": (("deberta.encoder.layer",), ("pooler", "classifier")),
    "ELECTRA": (("electra.encoder.layer",), ("classifier",)),
    "MPNet": (("mpnet.encoder.layer",), ("classifier",)),
    "XLM-RoBERTa": (("roberta.encoder.layer",), ("classifier",)),
    "ModernBERT": (("model.layers",), ("model.final_norm", "head", "classifier")),
    "GPT-2 (Conv1D)": (("transformer.h",), ("transformer.ln_f", "score")),
    "OPT": (("model.decoder.layers",), ("model.decoder.final_layer_norm", "score")),
    "Llama": (("model.layers",), ("model.norm", "score")),
    "Qwen2": (("model.layers",), ("model.norm", "score")),
    "T5": (
        ("transformer.encoder.block", "transformer.decoder.block"),
        ("transformer.decoder.final_layer_norm", "classification_head"),
    ),
}
"""Architecture -> its lists of layers in forward order, two layers each, and what runs after them."""


def stage_of(architecture: str, name: str) -> int:
    """Where a parameter belongs, read off the names by a person."""
    lists, after = BLOCKS[architecture]
    blocks = [f"{stack}.{k}." for stack in lists for k in range(2)]
    if name.startswith(after):
        return len(blocks) + 1
    if name.startswith("transformer.encoder.final_layer_norm"):
        return 3  # between T5's two stacks, so it goes with the first layer of the second
    return next((k + 1 for k, block in enumerate(blocks) if name.startswith(block)), 0)


def make_recipe(models: Sequence[Path], data: Sequence[Path], alpha: float = ALPHA, **change: object) -> MergeRecipe:
    experts = [
        {"name": model.name, "model": str(model), "calibration": {"data": str(path)}}
        for model, path in zip(models, data, strict=True)
    ]
    values = {"method": "regmean_plusplus", "parameters": {"alpha": alpha}, "experts": experts}
    return parse_recipe(values | change)


def write_all(folder: Path, models: Sequence[nn.Module]) -> tuple[list[Path], list[Path]]:
    directories = [write_model(folder / f"expert{i}", model) for i, model in enumerate(models)]
    return directories, [write_texts(folder / f"data{i}.csv", seed=i) for i in range(len(models))]


def by_hand(architecture: str, models: list[nn.Module], texts: list[list[tuple[int, ...]]]) -> dict[str, Tensor]:
    """The whole model runs for every stage: merged weights before it, an expert's own weights in it and behind."""
    states = [{name: p.detach() for name, p in model.named_parameters()} for model in models]
    merged = {name: (states[0][name] + states[1][name]) / 2 for name in states[0]}
    stages = {name: stage_of(architecture, name) for name in merged}
    for stage in range(max(stages.values()) + 1):
        grams = []
        for model, state, text in zip(models, states, texts, strict=True):
            mixed = copy.deepcopy(model)
            mixed.load_state_dict({n: merged[n] if stages[n] < stage else state[n] for n in state}, strict=False)
            grams.append(oracles.grams_by_loop(mixed, text))
        for name in grams[0]:
            if stages.get(name) != stage:
                continue
            is_transposed = architecture.startswith("GPT-2") and "score" not in name
            weights = [state[name].numpy() if is_transposed else state[name].numpy().T for state in states]
            solved = torch.tensor(solve_active([g[name] for g in grams], weights))
            merged[name] = solved if is_transposed else solved.T
    return merged
