"""A base model as people publish it: with another head, without one, without a prefix, under old names."""

from __future__ import annotations

import pytest

from fusion_ui.checkpoints.base import match_base
from fusion_ui.checkpoints.compatibility import ModelHeader
from fusion_ui.errors import IncompatibleError

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
