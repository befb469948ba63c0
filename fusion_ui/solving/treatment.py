"""What was done to one parameter, for the merge report: nothing falls back without standing there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Treatment:
    """How one parameter was merged.

    Attributes:
        path: how: a word for each way, such as "eigen", "cholesky", "counts", "fisher", "mean" or "copy";
            "base" or "expert" where a rule kept that.
        num_cut: eigen-directions below the cut-off, which keep the mean, or singular directions that are left out.
        num_dead: input features never active, or tokens that never occur, which keep the mean.
        num_flat: entries with no Fisher information in any expert, which keep the mean.
        share_kept: of the entries that the experts changed from the base, the share that was not trimmed away.
        share_conflicting: entries that some experts raise and others lower, after trimming, as a share of all.
        reason: why the parameter was merged by another path than the method's own, or by other parameters.
        layer_factor: what layer scaling multiplied the difference from the base by; None where it did not apply.
    """

    path: str
    num_cut: int = 0
    num_dead: int = 0
    num_flat: int = 0
    share_kept: float = 1.0
    share_conflicting: float = 0.0
    reason: str = ""
    layer_factor: float | None = None
