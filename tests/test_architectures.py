"""The architectures that people bring go the whole way: checked, measured, merged, exported, loaded, and exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
from architectures import ARCHITECTURES
from safetensors.torch import load_file
from tiny_models import LABELS, random_texts, write_model
from transformers import AutoModelForSequenceClassification

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.domain import Domain
from fusion_ui.evaluation.candidates import checkpoint_candidate
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.settings import Settings
from fusion_ui.tasks import load_model
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.workspace import Workspace

ALPHA, NUM_TEXTS = 0.9, 24


def write_texts(path: Path, seed: int) -> Path:
    texts = random_texts(NUM_TEXTS, seed)
    path.write_text("\n".join(["text,label", *(f"{text},{LABELS[i % 2]}" for i, text in enumerate(texts))]) + "\n")
    return path


def solve_active(grams: list[tuple[oracles.Array, int]], weights: list[oracles.Array]) -> oracles.Array:
    """The closed form over the features that were ever active (a ReLU leaves some out); the others keep the mean."""
    is_active = sum(np.diag(gram) for gram, _ in grams) > 0
    expected = np.array(sum(weights) / len(weights))
    expected[is_active] = oracles.regmean_by_formula(
        [gram[np.ix_(is_active, is_active)] for gram, _ in grams],
        [num_rows for _, num_rows in grams],
        [weight[is_active] for weight in weights],
        [0.5, 0.5],
        ALPHA,
    )
    return expected


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_architecture_is_merged_exactly_and_loads_again(
    architecture: str, settings: Settings, tmp_path: Path, record_property
):
    directories = [write_model(tmp_path / f"expert{i}", ARCHITECTURES[architecture](i)) for i in range(2)]
    data = [write_texts(tmp_path / f"data{i}.csv", seed=i) for i in range(2)]
    experts = [
        {"name": f"e{i}", "model": str(directory), "calibration": {"data": str(path)}}
        for i, (directory, path) in enumerate(zip(directories, data, strict=True))
    ]
    workspace = Workspace(settings)
    plan = workspace.plan(parse_recipe({"method": "regmean", "parameters": {"alpha": ALPHA}, "experts": experts}))
    merged = workspace.export(plan, tmp_path / "merged")
    written = load_file(tmp_path / "merged" / "model.safetensors")

    models = [load_model(expert) for expert in plan.experts]
    texts = [Tokenizer(e, 128).encode(random_texts(NUM_TEXTS, i)) for i, e in enumerate(plan.experts)]
    grams = [oracles.grams_by_loop(m, [text.ids for text in own]) for m, own in zip(models, texts, strict=True)]
    states = [load_file(directory / "model.safetensors") for directory in directories]
    worst, num_checked = 0.0, 0
    for name in grams[0]:
        if name not in states[0]:
            continue  # tied to another parameter
        is_transposed = architecture.startswith("GPT-2") and "score" not in name
        stored = [state[name].double().numpy() for state in states]
        weights = stored if is_transposed else [w.T for w in stored]
        expected = solve_active([g[name] for g in grams], weights)
        expected = expected if is_transposed else expected.T
        mean = sum(stored) / 2
        size = max(np.linalg.norm(expected - mean), 1e-3 * np.linalg.norm(mean))
        worst = max(worst, np.linalg.norm(written[name].double().numpy() - expected) / size)
        assert merged.treatments[name].path == "cholesky", (name, merged.treatments[name])
        num_checked += 1
    record_property("oracle_error", float(worst))
    print(f"{architecture:<24} {num_checked:3d} linear weights, oracle error {worst:.1e}")
    assert num_checked >= 8 and worst < 1e-4
    others = set(states[0]) - set(grams[0])
    for name in others:
        np.testing.assert_allclose(written[name], (states[0][name] + states[1][name]) / 2, rtol=1e-6, atol=1e-6)

    # It answers alike through the page's way (weights bound to a skeleton) and loaded by transformers.
    _, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    domain = Domain("d", "d", "report", random_texts(8, 9), (LABELS[0],) * 8)
    evaluation = workspace.evaluation([domain], plan.experts[0])
    candidate = workspace.candidate(plan)
    *_, logits = candidate.stream(evaluation, workspace.turns.urgent_progress())
    exported = checkpoint_candidate("m", "m", Checkpoint("m", tmp_path / "merged", "m"))
    *_, again = exported.stream(evaluation, workspace.turns.urgent_progress())
    assert torch.isfinite(logits["d"]).all()
    torch.testing.assert_close(logits["d"], again["d"], rtol=1e-3, atol=1e-4)
