"""TIES: trim, elect sign, merge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.methods.task_vectors import MEAN_SCALING, add_agreeing
from fusion_ui.methods.trimming import keep_largest
from fusion_ui.parameters import Range


@dataclass(frozen=True)
class Ties(MergeMethod):
    """Keep each task vector's largest entries, and average those with the heavier sign (Yadav et al., NeurIPS 2023).

    The authors trim over the whole model at once; here every tensor is trimmed by itself, as mergekit does.
    """

    name: ClassVar = "ties"
    title: ClassVar = "TIES"
    paper: ClassVar = "https://arxiv.org/abs/2306.01708"
    formula: ClassVar = "theta = theta_0 + lambda mean_i {t_i with the sign of sum_j c_j t_j},  t_i = largest(tau_i)"
    needs_base: ClassVar = True
    keeps_identical: ClassVar = False
    color: ClassVar = "#12756c"

    density: Annotated[
        float,
        Range(
            0.01,
            1,
            step=0.01,
            label="Density",
            symbol="density",
            help="The share of each tensor's entries that is kept, those that training changed most. 1 keeps all.",
            detail="Small changes are mostly noise of training, and dropping them leaves fewer entries to disagree in.",
        ),
    ] = 0.2
    scaling_coefficient: Annotated[float, MEAN_SCALING] = 1.0

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        return add_agreeing(slot, lambda vector, expert: keep_largest(vector, self.density), self.scaling_coefficient)
