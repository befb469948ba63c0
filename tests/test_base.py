"""A base model as people publish it: with another head, without one, without a prefix, under old names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import tiny_bert, write_model

from fusion_ui.checkpoints.base import match_base
from fusion_ui.checkpoints.compatibility import ModelHeader
from fusion_ui.errors import IncompatibleError, MergeError
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.workspace import Workspace

EXPERT = {
    "bert.embeddings.word_embeddings.weight": (100, 8),
    "bert.encoder.layer.0.output.dense.weight": (8, 16),
    "bert.encoder.layer.0.output.LayerNorm.weight": (8,),
    "bert.encoder.layer.0.output.LayerNorm.bias": (8,),
    "classifier.weight": (2, 8),
    "classifier.bias": (2,),
}
ENCODER = {name: shape for name, shape in EXPERT.items() if name.startswith("bert.")}


def header(shapes: dict[str, tuple[int, ...]], name: str = "base") -> ModelHeader:
    return ModelHeader(name, {}, shapes, 0)


def match(shapes: dict[str, tuple[int, ...]]) -> dict[str, str]:
    return dict(match_base(header(shapes), header(EXPERT, "expert")))


def test_a_base_with_the_same_head_has_everything():
    assert match(EXPERT) == {name: name for name in EXPERT}


def test_a_language_models_head_is_no_classifiers():
    assert match(ENCODER | {"cls.predictions.bias": (100,)}) == {name: name for name in ENCODER}


def test_a_head_with_other_labels_is_no_base_for_the_experts_head():
    assert match(ENCODER | {"classifier.weight": (5, 8), "classifier.bias": (5,)}) == {name: name for name in ENCODER}


def test_old_names_and_missing_prefixes_are_found():
    old = {
        n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("Norm.bias", "Norm.beta"): s
        for n, s in ENCODER.items()
    }
    assert match(old)["bert.encoder.layer.0.output.LayerNorm.bias"] == "bert.encoder.layer.0.output.LayerNorm.beta"
    bare = {name.removeprefix("bert."): shape for name, shape in old.items()}
    assert match(bare) == dict(zip(ENCODER, bare, strict=True))


def test_another_model_is_refused_with_what_differs():
    with pytest.raises(IncompatibleError, match=r"is not the base of expert: bert.* has shape \[8, 12\] in the one"):
        match(ENCODER | {"bert.encoder.layer.0.output.dense.weight": (8, 12)})
    with pytest.raises(IncompatibleError, match="base is not the base of expert: it has 15% of its weights"):
        match({name: shape for name, shape in ENCODER.items() if "embeddings" not in name})


def save_language_model(folder: Path) -> Path:
    """A BERT as it is pre-trained: no classifier, another head in its place."""
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig.from_dict(tiny_bert().config.to_dict() | {"architectures": None})
    torch.manual_seed(3)
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


def merge_by_task_arithmetic(base: Path, settings, tmp_path: Path, **change: object):
    experts = [{"name": f"e{i}", "model": str(write_model(tmp_path / f"e{i}", tiny_bert(i)))} for i in range(2)]
    recipe = parse_recipe({"method": "task_arithmetic", "base": str(base), "experts": experts} | change)
    workspace = Workspace(settings)
    merged = workspace.merge(workspace.plan(recipe))
    return merged, [load_file(tmp_path / f"e{i}" / "model.safetensors") for i in range(2)]


def test_a_language_model_serves_as_base_and_its_missing_head_is_said(settings, tmp_path: Path):
    base = save_language_model(tmp_path / "base")
    merged, experts = merge_by_task_arithmetic(base, settings, tmp_path, parameters={"scaling_coefficient": 0.25})
    start = load_file(base / "model.safetensors")
    name = "bert.encoder.layer.0.attention.self.query.weight"
    expected = start[name] + 0.25 * sum(expert[name] - start[name] for expert in experts)
    torch.testing.assert_close(merged.tensors[name], expected, rtol=1e-5, atol=1e-6)
    head = merged.treatments["classifier.weight"]
    assert (head.path, head.reason) == ("mean", "the base model has no such parameter")
    mean = sum(expert["classifier.weight"] for expert in experts) / 2
    torch.testing.assert_close(merged.tensors["classifier.weight"], mean)


def test_a_base_with_the_labels_in_another_order_is_aligned_by_name(settings, tmp_path: Path):
    plain, turned = tiny_bert(7), tiny_bert(7, labels=("positive", "negative"))
    for parameter in (turned.classifier.weight, turned.classifier.bias):
        parameter.data = parameter.data.flip(0)
    first, _ = merge_by_task_arithmetic(write_model(tmp_path / "plain", plain), settings, tmp_path)
    second, _ = merge_by_task_arithmetic(write_model(tmp_path / "turned", turned), settings, tmp_path)
    for name, tensor in first.tensors.items():
        torch.testing.assert_close(second.tensors[name], tensor, msg=name)


def test_a_base_that_is_no_number_is_named(settings, tmp_path: Path):
    broken = tiny_bert(7)
    broken.bert.encoder.layer[0].output.dense.weight.data[0, 0] = float("nan")
    with pytest.raises(MergeError, match=r"base cannot be merged: its tensor bert\.encoder.* not finite"):
        merge_by_task_arithmetic(write_model(tmp_path / "broken", broken), settings, tmp_path)
