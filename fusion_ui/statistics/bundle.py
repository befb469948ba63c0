"""A statistic as one safetensors file: Grams as packed triangles or diagonals, everything else in the metadata.

A Gram is symmetric, so its upper triangle is stored once, in float32: rounding moves an entry by at most 6e-8 of
sqrt(G_ii G_jj), which the scaled solution turns into less than 1e-5 of the merged change for alpha <= 0.9.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fusion_ui.errors import StatisticError, first_line
from fusion_ui.sources.files import replace_file
from fusion_ui.sources.upload import shown
from fusion_ui.statistics.statistic import LinearInput, Statistic, StatisticKind, StatisticSettings

FORMAT = "fusion-ui statistic 1"
EXTENDED_FORMAT = "fusion-ui statistic 2"
"""Of files that hold what the first format does not know. All others stay readable by every version."""
COUNTS = "token counts of "
"""Begins the key of a tensor of token counts; what follows is the name of the embedding."""

_INPUTS, _SETTINGS = TypeAdapter(dict[str, LinearInput]), TypeAdapter(StatisticSettings)


def write_statistic(path: Path, statistic: Statistic) -> None:
    """Write a statistic, whole or not at all."""
    pack = _PACKINGS[_layout(statistic.kind, statistic.is_diagonal)][0]
    tensors = {key: pack(tensor) for key, tensor in statistic.tensors.items()}
    tensors |= {COUNTS + name: counts.float() for name, counts in statistic.token_counts.items()}
    metadata = {
        "format": EXTENDED_FORMAT if statistic.settings.is_extended else FORMAT,
        "tool": f"fusion-ui {_tool_version()}",
        "kind": statistic.kind.value,
        "is_diagonal": json.dumps(statistic.is_diagonal),
        "checkpoint": statistic.checkpoint,
        "domain": statistic.domain,
        "settings": json.dumps(statistic.settings.describe()),
        "num_examples": str(statistic.num_examples),
        "num_tokens": str(statistic.num_tokens),
        "inputs": json.dumps({name: asdict(entry) for name, entry in statistic.inputs.items()}),
    }
    with replace_file(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def read_statistic(path: Path) -> Statistic:
    """Read a statistic; its tensors are read from the file when they are asked for.

    Raises:
        StatisticError: the file is missing, damaged, or not a statistic of this format.
    """
    if not path.is_file():
        raise StatisticError(f"The statistics file {path} does not exist. Check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            extras = {key: file.get_tensor(key) for key in file.keys() if key.startswith(COUNTS)}  # noqa: SIM118
        if metadata.get("format") not in (FORMAT, EXTENDED_FORMAT):
            raise StatisticError(
                f"{path} is not a statistics file of this version (expected {FORMAT!r}). "
                "Make one with `fusion-ui stats`."
            )
        kind = StatisticKind(metadata["kind"])
        is_diagonal = bool(json.loads(metadata.get("is_diagonal", "false")))
        tensors = _StoredTensors(path, _layout(kind, is_diagonal))
        inputs = _INPUTS.validate_json(metadata["inputs"], strict=True)
        for name, entry in inputs.items():
            if entry.tensor and (entry.tensor not in tensors or entry.num_rows < 1):
                raise ValueError(f"{name} has no Gram matrix of at least one row")
        return Statistic(
            kind=kind,
            checkpoint=metadata["checkpoint"],
            domain=metadata["domain"],
            settings=_read_settings(metadata["settings"]),
            num_examples=int(metadata["num_examples"]),
            num_tokens=int(metadata["num_tokens"]),
            tensors=tensors,
            inputs=inputs,
            is_diagonal=is_diagonal,
            token_counts={key.removeprefix(COUNTS): counts for key, counts in extras.items()},
        )
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{' '.join(map(str, first['loc']))}: {first['msg']}"
        raise StatisticError(f"The statistics file {path} is damaged: {shown(what)}. Make it again.") from None
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        what = shown(first_line(error)).rstrip(".")
        raise StatisticError(f"The statistics file {path} is damaged: {what}. Make it again.") from None


def _read_settings(text: str) -> StatisticSettings:
    _SETTINGS.validate_json(text, strict=True)
    return StatisticSettings(**json.loads(text))  # which refuses what it does not know


def gram_side(statistic: Statistic, key: str) -> int:
    """n of the n x n Gram stored under `key`, without reading it from a file."""
    tensors = statistic.tensors
    return tensors.side(key) if isinstance(tensors, _StoredTensors) else len(tensors[key])


def pack_triangle(gram: Float[Tensor, "n n"]) -> Float[Tensor, " packed"]:
    """The upper triangle, diagonal included, row by row, in float32."""
    return gram[_triangle(len(gram))].float()


def unpack_triangle(packed: Float[Tensor, " packed"]) -> Float[Tensor, "n n"]:
    """The symmetric matrix of a packed triangle, in float32."""
    size = _side(len(packed))
    full = torch.zeros(size, size)
    full[_triangle(size)] = packed
    diagonal = full.diagonal().clone()
    full += full.T.clone()
    full.diagonal().copy_(diagonal)
    return full


def _layout(kind: StatisticKind, is_diagonal: bool) -> str:
    return "plain" if kind is not StatisticKind.GRAM else "diagonal" if is_diagonal else "triangle"


_PACKINGS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "plain": (Tensor.float, lambda stored: stored),
    "triangle": (pack_triangle, unpack_triangle),
    "diagonal": (lambda gram: gram.diagonal().float().contiguous(), torch.diag),
}
"""Layout -> how a tensor is stored, and how it is had back."""


def _side(num_entries: int) -> int:
    """n for the n (n + 1) / 2 entries of a triangle."""
    size = (math.isqrt(8 * num_entries + 1) - 1) // 2
    if size * (size + 1) // 2 != num_entries:
        raise ValueError(f"{num_entries} entries are no triangle")
    return size


def _triangle(size: int) -> Tensor:
    return torch.ones(size, size, dtype=torch.bool).triu()


class _StoredTensors(Mapping[str, Tensor]):
    """Tensors read from their file one at a time, so a statistic in use costs no memory."""

    def __init__(self, path: Path, layout: str) -> None:
        self._file, self._unpack = safe_open(path, framework="pt"), _PACKINGS[layout][1]
        self._keys = tuple(key for key in self._file.keys() if not key.startswith(COUNTS))  # noqa: SIM118
        self._is_diagonal = layout == "diagonal"
        for key in self._keys if layout != "plain" else ():
            (num_entries,) = self._file.get_slice(key).get_shape()
            if layout == "triangle":
                _side(num_entries)

    def __getitem__(self, key: str) -> Tensor:
        if key not in self._keys:
            raise KeyError(key)
        return self._unpack(self._file.get_tensor(key))

    def side(self, key: str) -> int:
        """n of a stored n x n Gram, from the header alone."""
        (num_entries,) = self._file.get_slice(key).get_shape()
        return num_entries if self._is_diagonal else _side(num_entries)

    def __contains__(self, key: object) -> bool:
        return key in self._keys  # the inherited one would read the tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _tool_version() -> str:
    try:
        return version("fusion-ui")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
