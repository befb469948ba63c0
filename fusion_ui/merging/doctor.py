"""What a merge did to every parameter, what that stood on, and what should be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.finding import find_checkpoint
from fusion_ui.merging.groups import group_of, kind_of, position_of
from fusion_ui.merging.interference import Interference, measure_interference
from fusion_ui.merging.layers import layer_of
from fusion_ui.merging.merge import MergedModel
from fusion_ui.merging.movement import Movement, measure_movement
from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.rules import NO_RULES, ParameterRules
from fusion_ui.merging.slots import NOT_LINEAR, STORED_GRAM_ROUNDING, SlotSource
from fusion_ui.methods.base import MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.solving.conditioning import Conditioning, measure_conditioning
from fusion_ui.solving.treatment import Treatment

SOLVED = ("eigen", "cholesky", "interpolated")
"""The paths on which a parameter's normal equations were solved."""
ROWS_PER_FEATURE = 1.0
"""Below this an expert's Gram matrix is singular for certain: so many rows cannot span all its features."""
MAX_ROUNDING = 0.01
"""Condition number times the rounding of stored Grams bounds what rounding may change, relative to the merge's own
change. Below one percent nobody would notice it beside what other calibration text changes."""
FAR = 3.0
"""A merge so many times as far from the mean as the experts are lies far outside of them: it extrapolates. The demo's
layers stay near 2 at alpha 0.9, and some go beyond 10 at alpha 1."""


@dataclass(frozen=True)
class LayerReport:
    """One parameter of a merge.

    Attributes:
        name, shape: in the checkpoint; a linear weight's shape as (out, in).
        group, layer, kind: where it stands, as `fusion_ui.merging.groups` has it.
        path, reason: how it was merged, as in the merge report.
        alpha: RegMean's alpha where equations were solved.
        width: features of the layer's input; 0 where no Gram matrix was measured.
        num_rows: rows of each expert's Gram matrix: tokens, or texts for a head.
        num_dead, num_cut: features never active and directions cut off, which keep the mean.
        conditioning: of the equations that were solved.
        movement: how far it lies from the mean and from each expert.
        effect: the same with every input feature counted by its root mean square on the experts' text, so that
            weights of features that are hardly ever active do not drown the others; None without Gram matrices.
        interference: how the experts' changes of it lie to each other.
        attention: sentences on what should be looked at; mostly empty.
    """

    name: str
    shape: tuple[int, ...]
    group: str
    layer: int | None
    kind: str
    path: str
    reason: str
    alpha: float | None
    width: int
    num_rows: tuple[int, ...]
    num_dead: int
    num_cut: int
    conditioning: Conditioning | None
    movement: Movement
    effect: Movement | None
    interference: Interference
    attention: tuple[str, ...] = ()


def find_reference(plan: MergePlan, settings: Settings, base: Path | None = None) -> Checkpoint | None:
    """What the experts' changes are counted from: the plan's base, else `base`, else the one all adapters name."""
    named = {expert.base for expert in plan.experts}
    if plan.base is None and (base is not None or (len(named) == 1 and None not in named)):
        return find_checkpoint("base", str(base or named.pop()), settings)
    return plan.base


def examine(
    source: SlotSource,
    merged: MergedModel,
    method: MergeMethod,
    rules: ParameterRules = NO_RULES,
    progress: Progress | None = None,
) -> tuple[LayerReport, ...]:
    """Report on every floating-point parameter of a merge, in the order in which the model computes.

    Costs two sets of eigenvalues for every layer input, about what the merge's own factorisation does.

    Args:
        source: what was merged.
        merged: the result, from whichever path.
        method, rules: what it was merged by.

    Raises:
        StoppedError: `progress` was stopped.
    """
    progress = progress or Progress()
    reports: list[LayerReport] = []
    known: dict[tuple[float, int], Conditioning] = {}
    equations, total, names = None, len(source.names), [expert.name for expert in source.experts]
    for slot in source.slots():
        progress.report(len(reports) / total, f"Examining, {len(reports)} of {total} tensors")
        if slot.equations is not equations:  # query, key and value share one input, and so its eigenvalues
            equations, known = slot.equations, {}
        rule, tensor = rules.find(slot.name), source.pack(slot.name, merged.tensors)
        alpha = getattr(rule.adapt(method), "alpha", None)
        with progress.turn():
            report = _examine_one(slot, tensor, merged.treatments[slot.name], alpha, known)
        # What a rule kept is as somebody wanted it.
        reports.append(report if rule.is_kept else replace(report, attention=(*_find_attention(report, slot, names),)))
        for name, part in source.unpack(slot.name, tensor).items():  # as the merge told it
            source.keep(name, part)
        del slot
    return tuple(sorted(reports, key=lambda report: position_of(report.name)))


def _examine_one(
    slot: ParameterSlot,
    tensor: Tensor,
    treatment: Treatment,
    alpha: float | None,
    known: dict[tuple[float, int], Conditioning],
) -> LayerReport:
    equations, conditioning = slot.equations, None
    if equations is not None and alpha is not None and treatment.path in SOLVED:
        key = (alpha, treatment.num_cut)
        conditioning = known[key] = known.get(key) or measure_conditioning(equations, *key)
    return LayerReport(
        name=slot.name,
        shape=tuple(slot.experts.shape[1:]),
        group=group_of(slot.name),
        layer=layer_of(slot.name),
        kind=kind_of(slot.name),
        path=treatment.path,
        reason=treatment.reason,
        alpha=alpha if conditioning else None,
        width=len(equations.grams[0]) if equations else 0,
        num_rows=equations.num_rows if equations else (),
        num_dead=treatment.num_dead,
        num_cut=treatment.num_cut,
        conditioning=conditioning,
        movement=measure_movement(slot, tensor),
        effect=measure_movement(slot, tensor, equations.diagonals.sum(0).sqrt()) if equations else None,
        interference=measure_interference(slot),
    )


def _find_attention(report: LayerReport, slot: ParameterSlot, experts: Sequence[str]) -> Iterator[str]:
    """A sentence for everything about a parameter that should be looked at."""
    if report.path == "mean" and report.reason not in ("", NOT_LINEAR):
        yield f"merged as the mean because {report.reason}"
    if report.conditioning is None:
        return
    if slot.equations_missing:  # there is a Gram, but not of everything
        yield f"its Gram matrices do not hold all inputs: {slot.equations_missing}"
    few = [
        (rows, expert)
        for rows, expert in zip(report.num_rows, experts, strict=True)
        if rows < ROWS_PER_FEATURE * report.width
    ]
    if few:
        least, most = min(few)[0], max(few)[0]
        rows = _count(least, "row") if least == most else f"{least} to {most} rows"
        yield (
            f"saw {rows} for {report.width} features ({', '.join(expert for _, expert in few)}): too few to tell the "
            "features apart, so alpha decides much here. Calibrate on more text"
        )
    if report.num_dead:
        yield f"{_count(report.num_dead, 'feature was', 'features were')} never active: their weights keep the mean"
    if report.num_cut:
        yield (
            f"{_count(report.num_cut, 'direction was', 'directions were')} cut off at alpha {report.alpha:g}, where "
            "the text does not determine the merge: there it keeps the mean"
        )
    if report.conditioning.after * STORED_GRAM_ROUNDING > MAX_ROUNDING:
        yield (
            f"ill-conditioned: the rounding of the Gram matrices alone may change more than {MAX_ROUNDING:.0%} of what "
            "the merge changes. Use a smaller alpha"
        )
    if report.effect and report.effect.from_mean and report.effect.from_mean > FAR:
        yield (
            f"moved more than {FAR:g} times as far from the mean as the experts are from it. "
            "Use a smaller alpha, or calibrate on more text"
        )


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number} {one}" if number == 1 else f"{number} {more or one + 's'}"
