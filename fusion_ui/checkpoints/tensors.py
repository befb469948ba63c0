"""Reading and writing a checkpoint's tensors: safetensors only, one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fusion_ui.errors import CheckpointError, IncompatibleError

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"


class TensorReader:
    """The tensors of one checkpoint directory, memory-mapped and read one by one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @cached_property
    def files(self) -> list[Path]:
        """The safetensors files that hold the weights."""
        single, index = self.directory / SINGLE_FILE, self.directory / INDEX_FILE
        if single.is_file():
            return [single]
        if index.is_file():
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            return [self.directory / Path(name).name for name in names]
        raise CheckpointError(
            f"{self.directory} has no {SINGLE_FILE}. Fusion UI reads safetensors only; "
            "save the model with save_pretrained(..., safe_serialization=True)."
        )

    @cached_property
    def _open(self) -> dict[str, safe_open]:
        opened: dict[str, safe_open] = {}
        for file in self.files:
            try:
                handle = safe_open(file, framework="pt")
                opened |= dict.fromkeys(handle.keys(), handle)
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{file} cannot be read: {error}. Download or save it again.") from None
        return opened

    @property
    def names(self) -> list[str]:
        """Names of all tensors, sorted."""
        return sorted(self._open)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, from the header alone."""
        return tuple(self._open[name].get_slice(name).get_shape())

    def is_floating_point(self, name: str) -> bool:
        """True for parameters, False for tensors of whole numbers; from the header alone."""
        return self._open[name].get_slice(name).get_dtype().startswith(("F", "BF"))

    def read(self, name: str) -> Tensor:
        """One tensor."""
        return self._open[name].get_tensor(name)


def check_same_tensors(readers: Sequence[tuple[str, TensorReader]]) -> None:
    """Check that all checkpoints have the same tensors in the same shapes.

    Args:
        readers: name of each model, and its tensors.

    Raises:
        IncompatibleError: two checkpoints differ; the message names both and the first difference.
    """
    (first, reference), *others = readers
    for name, reader in others:
        missing = sorted(set(reference.names) ^ set(reader.names))
        if missing:
            holder, other = (first, name) if missing[0] in reference.names else (name, first)
            raise IncompatibleError(
                f"{first} and {name} cannot be merged: {holder} has the tensor {missing[0]} and {other} does not "
                f"({len(missing)} such tensors). Choose experts fine-tuned from the same base model."
            )
        for tensor in reference.names:
            if reference.shape(tensor) != reader.shape(tensor):
                raise IncompatibleError(
                    f"{first} and {name} cannot be merged: {tensor} has shape {list(reference.shape(tensor))} in the "
                    f"one and {list(reader.shape(tensor))} in the other. Choose experts fine-tuned from the same base."
                )


def write_tensors(path: Path, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Write one safetensors file with the metadata that transformers expects."""
    save_file({name: tensor.contiguous() for name, tensor in tensors}, path, metadata={"format": "pt"})
