"""DARE: drop and rescale, then task arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.methods.task_vectors import SUM_SCALING, add_trimmed
from fusion_ui.methods.trimming import drop_and_rescale
from fusion_ui.parameters import Range

RANDOM_DENSITY = Range(
    0.01,
    1,
    step=0.01,
    label="Density",
    symbol="density",
    help="The chance of each entry to be kept and divided by it, 1 - p in the paper. The same recipe draws the same "
    "entries. 1 keeps all.",
    detail="What is kept is scaled up so that the change stays the same on average. Fewer entries of different experts "
    "then meet.",
)


@dataclass(frozen=True)
class Dare(MergeMethod):
    """Drop entries of each task vector at random, scale up the rest, and add up what remains (Yu et al., ICML 2024)."""

    name: ClassVar = "dare"
    title: ClassVar = "DARE"
    paper: ClassVar = "https://arxiv.org/abs/2311.03099"
    formula: ClassVar = "theta = theta_0 + lambda sum_i c_i m_i tau_i / density,  m_i ~ Bernoulli(density)"
    needs_base: ClassVar = True
    keeps_identical: ClassVar = False
    color: ClassVar = "#b45109"

    density: Annotated[float, RANDOM_DENSITY] = 0.5
    scaling_coefficient: Annotated[float, SUM_SCALING] = 0.3

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        return add_trimmed(
            slot,
            lambda vector, expert: drop_and_rescale(vector, self.density, slot.generator(expert)),
            self.scaling_coefficient,
        )
