"""Sentences on what should be looked at in a merge: every fall-back, whatever was left out, and what is not sure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fusion_ui.merging.layer_report import LayerReport
from fusion_ui.merging.slots import NOT_LINEAR
from fusion_ui.solving.normal_equations import NormalEquations

FALLBACKS = {
    "mean": "merged as the mean",
    "base": "kept as the base model has it",
    "lerp": "mixed along the straight line and not along the arc",
    "mean task vector": "moved by the mean task vector",
}
"""Paths that a method takes where its own does not apply, in words."""
ROWS_PER_FEATURE = 1.0
"""Below this an expert's Gram matrix is singular for certain: so many rows cannot span all its features."""
MAX_ROUNDING = 0.01
"""Condition number times the rounding of stored Grams bounds what rounding may change, relative to the merge's own
change. Below one percent nobody would notice it beside what other calibration text changes."""
FAR = 3.0
"""A merge so many times as far from the mean as the experts are lies far outside of them: it extrapolates. The demo's
layers stay near 2 at alpha 0.9, and some go beyond 10 at alpha 1."""


def find_attention(
    report: LayerReport,
    reason: str,
    experts: Sequence[str],
    equations: NormalEquations | None = None,
    incomplete: str = "",
) -> Iterator[str]:
    """A sentence for everything about a parameter that should be looked at.

    Args:
        reason: the method's own, for what it did otherwise; empty where the report's is a rule's.
        equations: what was solved, or could have been.
        incomplete: why the Gram matrices, which are there, do not hold all inputs.
    """
    is_changed = any(distance is not None for distance in report.movement.from_experts)
    if is_changed:  # what no expert changed is the same on every path
        yield from _name_fallback(report, reason)
    if incomplete:
        yield f"its Gram matrices do not hold all inputs: {incomplete}"
    few = [
        (rows, expert)
        for rows, expert in (zip(report.num_rows, experts, strict=True) if report.num_rows else ())
        if rows < ROWS_PER_FEATURE * report.width
    ]
    if few and report.conditioning:
        least, most = min(few)[0], max(few)[0]
        rows = _count(least, "row") if least == most else f"{least} to {most} rows"
        yield (
            f"saw {rows} for {report.width} features ({', '.join(expert for _, expert in few)}): too few to tell the "
            "features apart, so alpha decides much here. Calibrate on more text"
        )
    if is_changed:
        yield from _count_left_out(report)
    if report.conditioning and equations and report.conditioning.after * equations.rounding > MAX_ROUNDING:
        yield (
            f"ill-conditioned: the rounding of the Gram matrices alone may change more than {MAX_ROUNDING:.0%} of what "
            "the merge changes. Use a smaller alpha"
        )
    if report.conditioning and report.effect and report.effect.from_mean and report.effect.from_mean > FAR:
        yield (
            f"moved more than {FAR:g} times as far from the mean as the experts are from it. "
            "Use a smaller alpha, or calibrate on more text"
        )


def _name_fallback(report: LayerReport, reason: str) -> Iterator[str]:
    """What was done instead of the method's own, and why.

    The mean of what is no linear weight is every method's own, as is the mean task vector of what is no matrix.
    """
    is_usual = reason == NOT_LINEAR and (report.path == "mean" or len(report.shape) < 2)
    if reason and not is_usual:
        yield f"{FALLBACKS[report.path]} because {reason}" if report.path in FALLBACKS else reason


def _count_left_out(report: LayerReport) -> Iterator[str]:
    """What was never active, cut off or without information."""
    has_text = bool(report.num_rows)
    if report.num_dead and report.path == "counts":
        yield f"{_count(report.num_dead, 'token occurs', 'tokens occur')} in no expert's text: their rows keep the mean"
    elif report.num_dead and has_text:
        yield f"{_count(report.num_dead, 'feature was', 'features were')} never active: their weights keep the mean"
    elif report.num_dead:
        yield f"{_count(report.num_dead, 'feature was', 'features were')} changed by no expert: their weights stay"
    if report.num_cut and report.alpha is not None:
        yield (
            f"{_count(report.num_cut, 'direction was', 'directions were')} cut off at alpha {report.alpha:g}, where "
            f"the {'text does' if has_text else 'task vectors do'} not determine the merge: there it keeps the mean"
        )
    elif report.num_cut:
        yield (
            f"{_count(report.num_cut, 'direction was', 'directions were')} left out: rounding alone may have made "
            "them, or another expert has them too"
        )
    if report.num_flat:
        yield (
            f"{_count(report.num_flat, 'entry has', 'entries have')} no Fisher information in any expert and keep the "
            "mean. Measure on more text"
        )


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number} {one}" if number == 1 else f"{number} {more or one + 's'}"
