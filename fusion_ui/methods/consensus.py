"""Consensus merging: what at least two tasks call important."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.methods.task_vectors import SUM_SCALING
from fusion_ui.parameters import Range
from fusion_ui.solving.treatment import Treatment

LEAST_TASKS = 2
"""Entries fewer tasks call important are dropped: the paper's catastrophic (none) and selfish (one) weights."""


@dataclass(frozen=True)
class Consensus(MergeMethod):
    """Of the summed task vectors keep the entries that at least two experts call important (Wang et al., ICML 2024).

    An entry is important to expert t where its own change is large beside all the others' together: |c_t tau_t| >=
    lambda_t |tau - c_t tau_t|, tau = sum_i c_i tau_i (the TALL mask; with equal weights the paper's). An expert of
    weight 0 has no say. T experts that agree exactly call nothing important where lambda_t > 1 / (T - 1).
    """

    name: ClassVar = "consensus"
    title: ClassVar = "Consensus"
    paper: ClassVar = "https://arxiv.org/abs/2405.07813"
    formula: ClassVar = (
        "theta = theta_0 + lambda m tau,  tau = sum_i c_i tau_i,  "
        "m = 1 where |c_i tau_i| >= lambda_t |tau - c_i tau_i| for two experts or more"
    )
    needs_base: ClassVar = True
    num_experts: ClassVar = (LEAST_TASKS, None)
    keeps_identical: ClassVar = False
    color: ClassVar = "#517e12"

    mask_threshold: Annotated[
        float,
        Range(
            0,
            2,
            step=0.05,
            label="Importance threshold λₜ",
            symbol="λₜ",
            help="How large an expert's own change must be, beside the sum of the others', to be important to it. "
            "0 keeps everything.",
        ),
    ] = 0.4
    scaling_coefficient: Annotated[float, SUM_SCALING] = 0.3

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        total = torch.zeros_like(slot.experts[0])
        for expert, coefficient in enumerate(slot.coefficients):
            total.add_(slot.task_vector(expert), alpha=coefficient)
        num_changed = int(total.count_nonzero())
        if num_changed == 0:  # frozen in training, as embeddings often are
            return slot.add_to_base(total, 0), Treatment("task vectors")
        num_tasks = torch.zeros(total.shape, dtype=torch.int16)
        for expert, coefficient in enumerate(slot.coefficients):
            own = coefficient * slot.task_vector(expert)
            num_tasks += own.abs() >= self.mask_threshold * (total - own).abs()
        kept = torch.where(num_tasks >= LEAST_TASKS, total, 0.0)
        share = int(kept.count_nonzero()) / num_changed
        return slot.add_to_base(kept, self.scaling_coefficient), Treatment("task vectors", share_kept=share)
