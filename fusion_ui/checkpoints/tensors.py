"""Reading and writing a checkpoint's tensors: safetensors only, one tensor in memory at a time."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fusion_ui.errors import CheckpointError

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"

MAX_MAPPED_BYTES = 64 * 2**20
"""How much of a checkpoint is read through one mapping. Read pages stay in memory for as long as their mapping does."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""What safetensors calls the types that can be merged or, whole numbers, copied."""

_CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True)
class TensorHeader:
    """What a safetensors file says of a tensor before its bytes."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Size of the tensor's bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class TensorReader(Mapping[str, Tensor]):
    """The tensors of one checkpoint directory by name, each read when it is asked for. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._mapped: dict[Path, safe_open] = {}
        self._num_mapped_bytes = 0

    @cached_property
    def files(self) -> list[Path]:
        """The safetensors files that hold the weights."""
        single, index = self.directory / SINGLE_FILE, self.directory / INDEX_FILE
        if single.is_file():
            return [single]
        if not index.is_file():
            raise CheckpointError(
                f"{self.directory} has no {SINGLE_FILE}. Fusion UI reads safetensors only; "
                "save the model with save_pretrained(..., safe_serialization=True)."
            )
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            return [self.directory / Path(name).name for name in names]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise CheckpointError(
                f"{index} is not the index of a model in several files. Download or save it again."
            ) from None

    @cached_property
    def _found(self) -> dict[str, tuple[Path, TensorHeader]]:
        found: dict[str, tuple[Path, TensorHeader]] = {}
        for file in self.files:
            handle = _open(file)
            for name in handle.keys():  # noqa: SIM118 - not a dictionary
                part = handle.get_slice(name)
                if part.get_dtype() not in DTYPES:
                    raise CheckpointError(
                        f"{file} cannot be merged: its tensor {name} has the type {part.get_dtype()}. "
                        "Save the model in float32, float16 or bfloat16."
                    )
                found[name] = file, TensorHeader(DTYPES[part.get_dtype()], tuple(part.get_shape()))
        return found

    @property
    def names(self) -> list[str]:
        """Names of all tensors, sorted. A tied tensor, which safetensors stores once, has one name."""
        return sorted(self._found)

    def header(self, name: str) -> TensorHeader:
        """Type and shape of a tensor, without reading it."""
        return self._found[name][1]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        return self.header(name).shape

    def is_floating_point(self, name: str) -> bool:
        """True for parameters, False for tensors of whole numbers."""
        return self.header(name).dtype.is_floating_point

    def read(self, name: str) -> Tensor:
        """One tensor. Its memory is the file's, mapped: leave it as it is."""
        file, header = self._found[name]
        with self._lock:
            if self._num_mapped_bytes > MAX_MAPPED_BYTES:
                # Tensors that somebody still holds keep their mapping; all others give their pages back.
                self._mapped.clear()
                self._num_mapped_bytes = 0
            self._num_mapped_bytes += header.num_bytes
            if file not in self._mapped:
                self._mapped[file] = _open(file)
            handle = self._mapped[file]
        return handle.get_tensor(name)

    def __getitem__(self, name: str) -> Tensor:
        return self.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, name: object) -> bool:
        return name in self._found


def _open(file: Path) -> safe_open:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}. Download or save it again.") from None


StoreTensor = Callable[[str, Tensor], None]
"""Takes one named tensor and puts it somewhere."""


@contextmanager
def write_tensors(path: Path, headers: Mapping[str, TensorHeader]) -> Iterator[StoreTensor]:
    """Yield a function that writes one tensor to the safetensors file `path`; no tensor is kept in memory.

    The file is the one that safetensors itself would write, whatever the order in which the tensors come: its header,
    with the metadata that transformers expects, follows from `headers` alone and gives every tensor its place.

    Raises:
        ValueError: a tensor is not as its header says or, at the end, was not written.
    """
    places: dict[str, int] = {}
    content: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(headers, key=lambda name: (-headers[name].dtype.itemsize, name)):  # so all are aligned
        places[name], end = end, end + headers[name].num_bytes
        content[name] = {
            "dtype": _CODES[headers[name].dtype],
            "shape": headers[name].shape,
            "data_offsets": (places[name], end),
        }
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        start = file.tell()

        def write(name: str, tensor: Tensor) -> None:
            if TensorHeader(tensor.dtype, tuple(tensor.shape)) != headers[name]:
                raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, not {headers[name]}")
            file.seek(start + places.pop(name))
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)

        yield write
    if places:
        raise ValueError(f"{path} lacks {', '.join(places)}")
