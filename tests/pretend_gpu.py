"""A second device that is not there: its tensors lie on the CPU, and mixing them with others fails as on a GPU.

Inside `pretend_gpu` the device "meta" plays that part. What is computed is computed by the CPU, so results are equal to
the bit; a tensor that was made on the wrong device, or taken home by nobody, is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

GPU = torch.device("meta")
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
"""What may have tensors of both devices."""


class _There(Tensor):
    """A tensor on the device that is not there."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> _There:
        made = Tensor._make_wrapper_subclass(
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=GPU
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Constants(TorchFunctionMode):
    """`torch.tensor` does not tell the other mode where it makes one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and kwargs.get("device") == GPU:
            del kwargs["device"]
            return func(*args, **kwargs).to(GPU)
        return func(*args, **kwargs)


@contextmanager
def pretend_gpu() -> Iterator[torch.device]:
    """The device, as long as the block lasts."""
    with _Constants(), _Mode():
        yield GPU


def _bring(leaf: Any) -> Any:
    """What the CPU is called with in place of what lies, or is asked for, there."""
    if isinstance(leaf, torch.device):
        return torch.device("cpu")
    return leaf.inner if isinstance(leaf, _There) else leaf


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    leaves = tree_flatten((args, kwargs))[0]
    is_there = any(isinstance(leaf, _There) for leaf in leaves)
    here = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, _There) and leaf.dim()]
    # In inference mode whole methods come here, such as `to`, to which the device is given by its place.
    asked = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
    if is_there and here and asked is None and func not in MOVES:
        raise RuntimeError(f"{func} has tensors on two devices")
    own = tree_map(_bring, (args, kwargs))
    found = func(*own[0], **own[1])
    if func._schema.name.endswith("_") and not func._schema.name.endswith("__"):
        return args[0]
    lies_there = asked == GPU if asked is not None else is_there
    return tree_map(lambda leaf: _There(leaf) if isinstance(leaf, Tensor) else leaf, found) if lies_there else found
