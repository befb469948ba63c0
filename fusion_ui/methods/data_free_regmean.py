"""RegMean without data: the task vectors themselves stand in for the inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.parameters import Range
from fusion_ui.solving.known_alphas import NEARLY_SINGULAR, solve_known
from fusion_ui.solving.normal_equations import NormalEquations
from fusion_ui.solving.treatment import Treatment


@dataclass(frozen=True)
class DataFreeRegMean(MergeMethod):
    """RegMean with Gram matrices made from the task vectors, since updates lie in the span of the inputs (WUDI, 2025).

    The gradient of a linear layer is a sum of its inputs, so a task vector's rows (of the stored out x in weight) lie
    in their span. With G_i = tau_i tau_i^T / |tau_i|^2 for tau_i in x out, RegMean's closed form is the point where the
    gradient of WUDI-Merging's loss, sum_i |(W - W_i) tau_i^T|^2 / |tau_i|^2, is zero. Task vectors have a low rank, so
    that point is far from unique: alpha below 1 makes it so, and at 1 it is the one nearest to the mean.
    """

    name: ClassVar = "data_free_regmean"
    title: ClassVar = "Data-free RegMean"
    paper: ClassVar = "https://arxiv.org/abs/2503.08099"
    formula: ClassVar = "W = (sum_i c_i G~_i)^-1 sum_i c_i G~_i W_i,  G_i = tau_i tau_i^T / |tau_i|^2"
    needs_base: ClassVar = True
    color: ClassVar = "#006ca2"

    alpha: Annotated[
        float,
        Range(
            0,
            1,
            step=0.01,
            label="Non-diagonal scaling α",
            symbol="α",
            help="How much of each surrogate's off-diagonal is kept: 0 uses the diagonal alone, 1 the whole matrix.",
            detail="That is how far features are taken to go together as they do in the expert's own update.",
            minimum_label="diagonal only",
            maximum_label="full surrogate",
        ),
    ] = 0.9

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        if reason := _reason_for_mean(slot):
            return slot.mean, Treatment("mean", reason=reason)
        if self.alpha > NEARLY_SINGULAR:
            return self.prepare_parameter(slot)(self)
        return _surrogate_equations(slot).solve(self.alpha, slot.mean, slot.deltas)

    @classmethod
    def prepare_parameter(
        cls, slot: ParameterSlot, settings: Sequence[DataFreeRegMean] = ()
    ) -> Callable[[DataFreeRegMean], Merged]:
        if reason := _reason_for_mean(slot):
            mean = slot.mean, Treatment("mean", reason=reason)
            return lambda method: mean
        alphas = [method.alpha for method in settings]
        solve = solve_known(_surrogate_equations(slot), slot.mean, slot.deltas, alphas)
        return lambda method: solve(method.alpha)

    @classmethod
    def find_equations(cls, slot: ParameterSlot) -> NormalEquations | None:
        """Those of the surrogates; a parameter without a base, or that is merged as the mean, has none."""
        return None if slot.base is None or _reason_for_mean(slot) else _surrogate_equations(slot)


def _surrogate_equations(slot: ParameterSlot) -> NormalEquations:
    """One row each: the surrogates are normalised already. An expert that is the base has none, and no say."""
    grams = []
    for task_vector in slot.task_vectors:
        gram = task_vector.double().T @ task_vector.double()
        grams.append(gram / gram.trace().clamp_min(torch.finfo(torch.float64).tiny))
    dtype = slot.experts.dtype
    return NormalEquations(tuple(grams), (1,) * len(grams), slot.weights, torch.finfo(dtype).eps, dtype)


def _reason_for_mean(slot: ParameterSlot) -> str:
    if slot.experts.stride(0) == 0:
        return "the same in every expert"
    return "" if slot.is_linear else "not the weight of a linear layer"
