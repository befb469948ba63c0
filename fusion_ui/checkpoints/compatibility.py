"""Can these models be merged? Answered from configs and safetensors headers alone, before anything large is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from fusion_ui.checkpoints.checkpoint import Checkpoint, architecture_of
from fusion_ui.errors import IncompatibleError

SAME_BASE = "Choose experts fine-tuned from the same base model."
DIMENSIONS = {
    "number of layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "width": ("hidden_size", "n_embd", "dim", "d_model"),
    "feed-forward width": ("intermediate_size", "n_inner", "hidden_dim", "d_ff", "ffn_dim"),
    "number of attention heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "vocabulary size": ("vocab_size",),
}
"""What people call a dimension -> its names in the configs of different architectures."""


@dataclass(frozen=True)
class ModelHeader:
    """What a model says of itself before its weights are read.

    Attributes:
        name: what the person calls it.
        config: content of config.json.
        shapes: tensor name -> shape.
        num_bytes: size of the weights.
        download_bytes: what must still be fetched; 0 for a model on this machine.
    """

    name: str
    config: Mapping[str, Any] = field(repr=False)
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)
    num_bytes: int
    download_bytes: int = 0

    @property
    def architecture(self) -> str:
        """For example ``BertForSequenceClassification``."""
        return architecture_of(self.config)


def read_header(checkpoint: Checkpoint) -> ModelHeader:
    """The header of a model on this machine.

    Raises:
        CheckpointError: config or weights are missing or cannot be read.
    """
    config, tensors = checkpoint.config, checkpoint.tensors
    shapes = {name: tensors.shape(name) for name in tensors.names}
    return ModelHeader(checkpoint.name, config, shapes, sum(f.stat().st_size for f in tensors.files))


def find_problems(models: Sequence[ModelHeader], apart_from: AbstractSet[str] = frozenset()) -> list[str]:
    """One sentence for every model that cannot be merged with the first, which says in what the two differ.

    Args:
        apart_from: tensors that need not agree, such as heads that are kept apart.
    """
    first, *others = models
    found = (_difference(first, other, apart_from) for other in others)
    return [problem for problem in found if problem]


def check_mergeable(models: Sequence[ModelHeader], apart_from: AbstractSet[str] = frozenset()) -> None:
    """Raise `IncompatibleError` with the first of `find_problems`."""
    for problem in find_problems(models, apart_from):
        raise IncompatibleError(problem)


def _difference(first: ModelHeader, other: ModelHeader, apart_from: AbstractSet[str]) -> str:
    start = f"{first.name} and {other.name} cannot be merged: "
    if first.architecture != other.architecture:
        names = f"{first.architecture} against {other.architecture}"
        return f"{start}their architectures differ ({names}). {SAME_BASE}"
    dimensions = [
        f"{what} {a} against {b}"
        for what, keys in DIMENSIONS.items()
        if (a := _first(first.config, keys)) != (b := _first(other.config, keys))
    ]
    if dimensions == [] or dimensions[0].startswith("vocabulary"):
        tensors = _tensor_difference(first, other, apart_from)
        if tensors and dimensions:  # tokens were added in one of them
            return f"{start}they differ in {dimensions[0]}. {SAME_BASE} {tensors}"
        return f"{start}{tensors} {SAME_BASE}" if tensors else ""
    return f"{start}they differ in {', '.join(dimensions)}. {SAME_BASE}"


def _tensor_difference(first: ModelHeader, other: ModelHeader, apart_from: AbstractSet[str]) -> str:
    missing = sorted((first.shapes.keys() ^ other.shapes.keys()) - apart_from)
    if missing:
        holder, lacking = (first, other) if missing[0] in first.shapes else (other, first)
        more = f" ({len(missing)} such tensors)" if len(missing) > 1 else ""
        return f"{holder.name} has the tensor {missing[0]} and {lacking.name} does not{more}."
    shared = sorted(first.shapes.keys() - apart_from)
    differing = [name for name in shared if first.shapes[name] != other.shapes[name]]
    if differing:
        name = differing[0]
        a, b = list(first.shapes[name]), list(other.shapes[name])
        more = f" ({len(differing)} such tensors)" if len(differing) > 1 else ""
        return f"{name} has shape {a} in the one and {b} in the other{more}."
    return ""


def _first(config: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((config[key] for key in keys if config.get(key) is not None), None)
