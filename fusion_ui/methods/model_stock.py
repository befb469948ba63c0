"""Model Stock: between the base and the mean, as far as the experts' task vectors agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving.directions import measure_directions
from fusion_ui.solving.treatment import Treatment


@dataclass(frozen=True)
class ModelStock(MergeMethod):
    """Stop between the base model and the mean, the nearer to the mean the more task vectors agree (Jang et al., 2024).

    The paper takes experts to be centre + noise of one size at right angles to each other and to the
    centre's own task vector, and the merge to be the point nearest to the centre on the line from base to mean. With
    coefficients c_i the mean holds the noise of 1 / sum_i c_i^2 experts, so that is what N stands for; with equal
    coefficients it is their number. A task vector of zero is at a right angle to every other. A cosine below 0 cannot
    come from a centre and noise: the parameter then stays the base's.
    """

    name: ClassVar = "model_stock"
    title: ClassVar = "Model Stock"
    paper: ClassVar = "https://arxiv.org/abs/2403.19522"
    formula: ClassVar = "theta = theta_0 + t sum_i c_i tau_i,  t = N cos / (1 + (N - 1) cos),  per parameter"
    needs_base: ClassVar = True
    num_experts: ClassVar = (2, None)
    color: ClassVar = "#125ad8"

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        assert slot.base is not None  # see `needs_base`
        if slot.experts.stride(0) == 0:  # the same in every expert: nothing disagrees
            return slot.mean, Treatment("model stock")
        weights = torch.tensor(slot.weights, dtype=torch.float64)
        pairs = torch.outer(weights, weights).fill_diagonal_(0.0)
        if not pairs.any():
            return slot.mean, Treatment("model stock", reason="one expert has all the weight")
        versine = (pairs * measure_directions(slot.task_vectors).versines).sum() / pairs.sum()
        cosine = 1 - versine.item()
        if cosine < 0:
            return slot.base, Treatment("base", reason=f"task vectors point away from each other, cosine {cosine:.2g}")
        effective = 1 / weights.square().sum().item()
        share = effective * cosine / (1 + (effective - 1) * cosine)
        return torch.lerp(slot.base.to(slot.mean.dtype), slot.mean, share), Treatment("model stock")
