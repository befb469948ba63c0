"""What was done to one parameter, for the merge report: nothing falls back without standing there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Treatment:
    """How one parameter was merged.

    Attributes:
        path: "eigen", "cholesky", "counts", "fisher", "mean" or "copy".
        num_cut: eigen-directions below the cut-off, which keep the mean.
        num_dead: input features never active, or tokens that never occur, which keep the mean.
        num_flat: entries with no Fisher information in any expert, which keep the mean.
        reason: why the parameter was merged by another path than the method's own.
    """

    path: str
    num_cut: int = 0
    num_dead: int = 0
    num_flat: int = 0
    reason: str = ""
