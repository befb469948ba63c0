"""DARE before the sign election of TIES."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.dare import RANDOM_DENSITY
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.methods.task_vectors import MEAN_SCALING, add_agreeing
from fusion_ui.methods.trimming import drop_and_rescale


@dataclass(frozen=True)
class DareTies(MergeMethod):
    """Drop entries of each task vector at random, scale up the rest, and average those with the heavier sign.

    Dropping takes the place of TIES's trimming by magnitude.
    """

    name: ClassVar = "dare_ties"
    title: ClassVar = "DARE-TIES"
    paper: ClassVar = "https://arxiv.org/abs/2311.03099"
    formula: ClassVar = "theta = theta_0 + lambda mean_i {t_i with the sign of sum_j c_j t_j},  t_i = m_i tau_i / k"
    needs_base: ClassVar = True
    keeps_identical: ClassVar = False
    color: ClassVar = "#127590"

    density: Annotated[float, RANDOM_DENSITY] = 0.5
    scaling_coefficient: Annotated[float, MEAN_SCALING] = 1.0

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        return add_agreeing(
            slot,
            lambda vector, expert: drop_and_rescale(vector, self.density, slot.generator(expert)),
            self.scaling_coefficient,
        )
