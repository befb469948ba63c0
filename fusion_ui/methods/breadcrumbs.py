"""Model Breadcrumbs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.methods.task_vectors import SUM_SCALING, add_trimmed
from fusion_ui.methods.trimming import keep_between
from fusion_ui.parameters import Range


@dataclass(frozen=True)
class Breadcrumbs(MergeMethod):
    """Drop the smallest and the very largest entries of each task vector, and add up the rest (Davari et al., 2024)."""

    name: ClassVar = "breadcrumbs"
    title: ClassVar = "Model Breadcrumbs"
    paper: ClassVar = "https://arxiv.org/abs/2312.06795"
    formula: ClassVar = "theta = theta_0 + lambda sum_i c_i m_i tau_i,  m_i = 0 where |tau_i| is small or an outlier"
    needs_base: ClassVar = True
    keeps_identical: ClassVar = False
    color: ClassVar = "#7e36f3"

    drop_smallest: Annotated[
        float,
        Range(
            0,
            1,
            step=0.01,
            label="Drop the smallest β",
            symbol="β",
            help="The share of each tensor's entries that is dropped because training hardly changed them.",
        ),
    ] = 0.9
    drop_largest: Annotated[
        float,
        Range(
            0,
            0.2,
            step=0.005,
            label="Drop the largest γ",
            symbol="γ",
            help="The share of each tensor's entries that is dropped as outliers. The paper counts from below: its "
            "99 % is 0.01 here.",
        ),
    ] = 0.01
    scaling_coefficient: Annotated[float, SUM_SCALING] = 0.3

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        num_entries = slot.experts[0].numel()
        num_smallest, num_largest = int(self.drop_smallest * num_entries), int(self.drop_largest * num_entries)
        return add_trimmed(
            slot,
            lambda vector, expert: keep_between(vector, num_smallest, num_largest),
            self.scaling_coefficient,
        )
