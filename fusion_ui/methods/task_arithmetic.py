"""Task arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.methods.task_vectors import SUM_SCALING, add_trimmed


@dataclass(frozen=True)
class TaskArithmetic(MergeMethod):
    """Add up what every expert changed from the base model, and take a part of it (Ilharco et al., ICLR 2023)."""

    name: ClassVar = "task_arithmetic"
    title: ClassVar = "Task arithmetic"
    paper: ClassVar = "https://arxiv.org/abs/2212.04089"
    formula: ClassVar = "theta = theta_0 + lambda sum_i c_i tau_i,  tau_i = theta_i - theta_0"
    needs_base: ClassVar = True
    keeps_identical: ClassVar = False
    color: ClassVar = "#c63f09"

    scaling_coefficient: Annotated[float, SUM_SCALING] = 0.3

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        return add_trimmed(slot, lambda vector, expert: vector, self.scaling_coefficient)
