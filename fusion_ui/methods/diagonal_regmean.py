"""Diagonal RegMean: each input feature weighted by how active it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving.treatment import Treatment
from fusion_ui.statistics.statistic import StatisticKind


@dataclass(frozen=True)
class DiagonalRegMean(MergeMethod):
    """Average each input feature's weights by how active the feature was in each domain: RegMean at alpha 0.

    Nothing is factorised, and statistics that hold the diagonals of the Gram matrices alone are enough.
    """

    name: ClassVar = "diagonal_regmean"
    title: ClassVar = "Diagonal RegMean"
    paper: ClassVar = "https://openreview.net/forum?id=FCnohuR6AnM"
    formula: ClassVar = "w_j = sum_i c_i g_ij w_ij / sum_i c_i g_ij,  g_i = diag(G_i),  w_j the weights of feature j"
    requires: ClassVar = frozenset({StatisticKind.GRAM})
    color: ClassVar = "#7e87f3"

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        if slot.equations is None:
            return slot.mean, Treatment("mean", reason=slot.equations_missing)
        return slot.equations.solve_diagonal(slot.mean, slot.deltas)
