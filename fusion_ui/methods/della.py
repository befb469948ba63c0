"""DELLA: drop by rank of magnitude, rescale, elect signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.methods.task_vectors import MEAN_SCALING, add_agreeing
from fusion_ui.methods.trimming import drop_and_rescale, rank_probabilities
from fusion_ui.parameters import Range


@dataclass(frozen=True)
class Della(MergeMethod):
    """Drop small entries of each task vector more often than large ones, then go on as TIES (Deep et al., 2024)."""

    name: ClassVar = "della"
    title: ClassVar = "DELLA"
    paper: ClassVar = "https://arxiv.org/abs/2406.11617"
    formula: ClassVar = (
        "theta = theta_0 + lambda mean_i {t_i with the sign of sum_j c_j t_j},  t_i = m_i tau_i / k_i,  "
        "m_i ~ Bernoulli(k_i),  k_i = density ± epsilon/2 by rank"
    )
    needs_base: ClassVar = True
    keeps_identical: ClassVar = False
    color: ClassVar = "#bd1b5a"

    density: Annotated[
        float,
        Range(
            0.01,
            1,
            step=0.01,
            label="Density",
            symbol="density",
            help="The mean chance of an entry to be kept, 1 - p in the paper. The same recipe draws the same entries. "
            "1 keeps all.",
        ),
    ] = 0.7
    window: Annotated[
        float,
        Range(
            0,
            1,
            step=0.01,
            label="Window ε",
            symbol="ε",
            help="How much more likely the largest entry of a row is kept than the smallest, as far as chances can "
            "spread around the density. 0 is DARE-TIES.",
        ),
    ] = 0.14
    scaling_coefficient: Annotated[float, MEAN_SCALING] = 1.0

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        def sample(vector: Tensor, expert: int) -> Tensor:
            probabilities = rank_probabilities(vector, self.density, self.window)
            return drop_and_rescale(vector, probabilities, slot.generator(expert))

        return add_agreeing(slot, sample, self.scaling_coefficient)
