"""Spherical linear interpolation between two experts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving.directions import measure_directions
from fusion_ui.solving.treatment import Treatment

PARALLEL = 1e-14
"""1 - cos of the angle up to which arc and chord are the same to the last digit of a float64."""

OPPOSITE = 2 - 1e-8
"""1 - cos of the angle from which rounding would choose among the many shortest arcs."""


@dataclass(frozen=True)
class Slerp(MergeMethod):
    """Go from one of two experts to the other along the arc between their directions (Shoemake, 1985).

    The arc is that of the directions, and the length goes evenly from one expert's to the other's; where both have
    the same length, this is Shoemake's formula. The position is the second expert's weight.
    """

    name: ClassVar = "slerp"
    title: ClassVar = "SLERP"
    paper: ClassVar = "https://doi.org/10.1145/325334.325242"
    formula: ClassVar = "u = [sin(c_1 phi) u_1 + sin(c_2 phi) u_2] / sin(phi),  |theta| = c_1 |theta_1| + c_2 |theta_2|"
    num_experts: ClassVar = (2, 2)
    color: ClassVar = "#a26309"

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        if slot.experts.stride(0) == 0:
            return slot.mean, Treatment("lerp", reason="the same in both experts")
        directions = measure_directions(slot.experts)
        lengths, versine = directions.lengths.tolist(), directions.versines[0, 1].item()
        if 0.0 in lengths:
            return slot.mean, Treatment("lerp", reason="an expert is zero here and has no direction")
        if versine <= PARALLEL:
            return slot.mean, Treatment("lerp", reason="the experts' directions are parallel")
        if versine >= OPPOSITE:
            return slot.mean, Treatment("lerp", reason="the experts' directions are opposite, with no shortest arc")
        angle = 2 * math.asin(math.sqrt(versine / 2))
        length = sum(c * own for c, own in zip(slot.weights, lengths, strict=True))
        factors = [
            length / own * math.sin(c * angle) / math.sin(angle) for c, own in zip(slot.weights, lengths, strict=True)
        ]
        weights = torch.tensor(factors, dtype=slot.experts.dtype)
        return torch.tensordot(weights, slot.experts, dims=1), Treatment("slerp")
