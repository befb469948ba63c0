"""What a merge did to every parameter, what that stood on, and what should be looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.finding import find_checkpoint
from fusion_ui.merging.attention import find_attention
from fusion_ui.merging.groups import group_of, kind_of, position_of
from fusion_ui.merging.interference import measure_interference
from fusion_ui.merging.layer_report import LayerReport
from fusion_ui.merging.layers import layer_of
from fusion_ui.merging.merge import MergedModel
from fusion_ui.merging.movement import measure_movement
from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.rules import NO_RULES, ParameterRules
from fusion_ui.merging.slots import SlotSource
from fusion_ui.methods.base import MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.solving.conditioning import Conditioning, measure_conditioning
from fusion_ui.solving.normal_equations import NormalEquations
from fusion_ui.solving.treatment import Treatment

SOLVED = ("eigen", "cholesky", "interpolated")
"""The paths on which a parameter's normal equations were solved."""


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
        solved = type(method).find_equations(slot)
        if solved is not equations:  # query, key and value share one input, and so its eigenvalues
            equations, known = solved, {}
        rule, tensor = rules.find(slot.name), source.pack(slot.name, merged.tensors)
        alpha = getattr(rule.adapt(method), "alpha", None)
        with progress.turn():
            report = _examine_one(slot, tensor, merged.treatments[slot.name], alpha, equations, known)
        if not rule.is_kept:  # what a rule kept is as somebody wanted it, and so is what it changed
            reason = "" if report.reason == rule.reason else report.reason
            incomplete = slot.equations_missing if slot.equations else ""
            found = find_attention(report, reason, names, equations, incomplete)
            report = replace(report, attention=(*found,))
        reports.append(report)
        for name, part in source.unpack(slot.name, tensor).items():  # as the merge told it
            source.keep(name, part)
        del slot
    return tuple(sorted(reports, key=lambda report: position_of(report.name)))


def _examine_one(
    slot: ParameterSlot,
    tensor: Tensor,
    treatment: Treatment,
    alpha: float | None,
    solved: NormalEquations | None,
    known: dict[tuple[float, int], Conditioning],
) -> LayerReport:
    equations, conditioning = slot.equations, None
    if solved is not None and alpha is not None and treatment.path in SOLVED:
        key = (alpha, treatment.num_cut)
        conditioning = known[key] = known.get(key) or measure_conditioning(solved, *key)
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
        num_flat=treatment.num_flat,
        conditioning=conditioning,
        movement=measure_movement(slot, tensor),
        effect=measure_movement(slot, tensor, equations.diagonals.sum(0).sqrt()) if equations else None,
        interference=measure_interference(slot),
    )
