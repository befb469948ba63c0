"""Numbers that are not finite, in what is to be merged: refused with their place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.errors import MergeError


def is_finite(tensor: Tensor) -> bool:
    """True if there is no NaN and no infinity, in one pass and without a second tensor."""
    return tensor.numel() == 0 or all(bool(end.isfinite()) for end in tensor.aminmax())


def check_finite(experts: Sequence[Checkpoint], names: Iterable[str] | None = None) -> None:
    """Read every weight once, or those of some `names`, before anything is measured with it.

    Raises:
        MergeError: an expert's tensor has NaN or infinite entries.
    """
    for expert in experts:
        for name in expert.tensors.names if names is None else sorted(names):
            check_tensor(expert, name, expert.tensors.read(name))


def check_tensor(expert: Checkpoint, name: str, tensor: Tensor) -> None:
    """Raise as `check_finite` does, for one tensor."""
    if tensor.is_floating_point() and not is_finite(tensor):
        raise MergeError(
            f"{expert.name} cannot be merged: its tensor {name} has entries that are not finite numbers. "
            "Leave this expert out, or fine-tune it again."
        )
