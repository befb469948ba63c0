"""Fisher-weighted averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.parameters import Toggle
from fusion_ui.solving.treatment import Treatment
from fusion_ui.statistics.statistic import StatisticKind


@dataclass(frozen=True)
class FisherMean(MergeMethod):
    """Weight every single parameter by how much the expert's predictions depend on it (Matena and Raffel, 2022)."""

    name: ClassVar = "fisher"
    title: ClassVar = "Fisher-weighted mean"
    paper: ClassVar = "https://arxiv.org/abs/2111.09832"
    formula: ClassVar = "theta = sum_i c_i F_i theta_i / sum_i c_i F_i"
    requires: ClassVar = frozenset({StatisticKind.FISHER})
    color: ClassVar = "#cf7e00"

    normalise: Annotated[
        bool,
        Toggle(
            label="Equal Fisher norm",
            help="Divide each expert's Fisher information by its norm over the whole model first, so that an expert "
            "with large gradients does not drown the others.",
        ),
    ] = False

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        if slot.fishers is None:
            return slot.mean, Treatment("mean", reason="no Fisher information for this parameter")
        if slot.experts.stride(0) == 0:  # the same in every expert: nothing to weight
            return slot.mean, Treatment("fisher")
        deltas = slot.deltas
        if not deltas.any():
            return slot.mean, Treatment("fisher")
        coefficients = torch.tensor(slot.weights, dtype=deltas.dtype)
        if self.normalise:
            norms = torch.tensor(slot.fisher_norms, dtype=torch.float64)
            # An expert without any information has nothing to be scaled up.
            is_informed = norms > torch.finfo(torch.float32).tiny * norms.max()
            shares = torch.where(is_informed, coefficients.double() * norms.max() / norms, 0.0)
            coefficients = shares.to(deltas.dtype)
        importance = slot.fishers.to(deltas.dtype) * coefficients.reshape(-1, *[1] * slot.mean.ndim)
        total = importance.sum(0)
        # Entries that no prediction depends on keep the mean; below the smallest normal number the ratio is noise.
        is_flat = total <= torch.finfo(deltas.dtype).tiny
        correction = (importance * deltas).sum(0) / torch.where(is_flat, 1.0, total)
        return slot.mean + torch.where(is_flat, 0.0, correction), Treatment("fisher", num_flat=int(is_flat.sum()))
