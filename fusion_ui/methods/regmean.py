"""RegMean: regression mean, in closed form from Gram matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.parameters import Range, Toggle
from fusion_ui.solving.known_alphas import NEARLY_SINGULAR, solve_known
from fusion_ui.solving.treatment import Treatment
from fusion_ui.statistics.statistic import StatisticKind, StatisticSettings

ALPHA = Range(
    0,
    1,
    step=0.01,
    label="Non-diagonal scaling α",
    symbol="α",
    help="How much of each Gram matrix's off-diagonal is kept: 0 uses the diagonal alone, 1 the whole matrix.",
    detail="That is how far features are taken to go together as they did in the calibration text. Less is steadier "
    "where there is little text.",
    minimum_label="diagonal only",
    maximum_label="full Gram",
)


@dataclass(frozen=True)
class RegMean(MergeMethod):
    """Match every expert's linear outputs on its own domain (Jin et al., ICLR 2023)."""

    name: ClassVar = "regmean"
    title: ClassVar = "RegMean"
    paper: ClassVar = "https://openreview.net/forum?id=FCnohuR6AnM"
    formula: ClassVar = "W = (sum_i c_i G~_i)^-1 sum_i c_i G~_i W_i,  G~_i = alpha G_i + (1 - alpha) diag(G_i)"
    requires: ClassVar = frozenset({StatisticKind.GRAM})
    factorises: ClassVar = True
    color: ClassVar = "#4c6ef5"

    alpha: Annotated[float, ALPHA] = 0.9

    embeddings: Annotated[
        bool,
        Toggle(
            label="Embeddings by token counts",
            help="Weight the embedding of each token by how often every expert's text uses the token, instead of "
            "averaging it. Statistics then tell which tokens occur in the text, and how often.",
        ),
    ] = False

    with_bias: Annotated[
        bool,
        Toggle(
            label="Biases with their weights",
            help="Solve the bias of each linear layer together with its weight, instead of averaging biases.",
        ),
    ] = False

    def extend_settings(self, how: StatisticSettings) -> StatisticSettings:
        return replace(how, token_counts=self.embeddings, input_sums=self.with_bias)

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        if self.embeddings and slot.token_frequencies is not None:
            return _weigh_rows(slot)
        return match_outputs(slot, self.alpha)

    @classmethod
    def prepare_parameter(cls, slot: ParameterSlot, settings: Sequence[RegMean] = ()) -> Callable[[RegMean], Merged]:
        if slot.token_frequencies is not None:
            weighted, plain = _weigh_rows(slot), _mean(slot)
            return lambda method: weighted if method.embeddings else plain
        if slot.equations is None:
            mean = _mean(slot)
            return lambda method: mean
        solve = solve_known(slot.equations, slot.mean, slot.deltas, [method.alpha for method in settings])
        return lambda method: solve(method.alpha)


def match_outputs(slot: ParameterSlot, alpha: float) -> Merged:
    """RegMean of one weight by one factorisation; the mean where there are no Gram matrices."""
    if slot.equations is None:
        return _mean(slot)
    if alpha > NEARLY_SINGULAR:
        return slot.equations.factorise(slot.mean, slot.deltas).solve(alpha)
    return slot.equations.solve(alpha, slot.mean, slot.deltas)


def _weigh_rows(slot: ParameterSlot) -> Merged:
    """The mean of every row v weighted by c_i n_iv / N_i: RegMean for one-hot inputs, whose Grams are diagonal.

    A row that no expert's text uses keeps the mean.
    """
    assert slot.token_frequencies is not None
    shares = slot.token_frequencies.double() * torch.tensor(slot.weights, dtype=torch.float64)[:, None]
    total = shares.sum(0)
    treatment = Treatment("counts", num_dead=int((total == 0).sum()))
    if slot.experts.stride(0) == 0:  # the same in every expert: nothing to weight
        return slot.mean, treatment
    shares = (shares / torch.where(total == 0, 1.0, total)).to(slot.experts.dtype)
    merged = slot.mean.clone()
    for share, expert in zip(shares, slot.experts, strict=True):
        merged += share[:, None] * (expert - slot.mean)
    return merged, treatment


def _mean(slot: ParameterSlot) -> Merged:
    return slot.mean, Treatment("mean", reason=slot.equations_missing)
