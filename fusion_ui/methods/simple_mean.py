"""Simple and weighted averaging of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving.treatment import Treatment


@dataclass(frozen=True)
class SimpleMean(MergeMethod):
    """Average every parameter of the experts, weighted by their coefficients."""

    name: ClassVar = "simple_mean"
    title: ClassVar = "Simple mean"
    paper: ClassVar = "https://arxiv.org/abs/2203.05482"
    formula: ClassVar = "W = sum_i c_i W_i"
    color: ClassVar = "#7f8797"

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        return slot.mean, Treatment("mean")
