"""The Karcher mean: the centre of directions on the sphere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving.directions import measure_directions
from fusion_ui.solving.treatment import Treatment

TOLERANCE = 1e-12
"""Length of a step, in radians, at which the centre counts as found."""

MAX_STEPS = 200
"""Steps after which the search ends. Experts of one base need three; experts at right angles to each other need 30."""

UNDEFINED = 1e-4
"""A direction so near, in radians, to the centre's opposite has no shortest arc to it; nor has a centre so short."""


@dataclass(frozen=True)
class KarcherMean(MergeMethod):
    """Take the direction nearest to all experts' directions, by squared angles, and their mean length (Karcher, 1977).

    The centre lies in the span of the experts, so the search runs on one coordinate an expert and on the angles
    between them, not on the parameters themselves: m = sum_i a_i u_i.
    """

    name: ClassVar = "karcher"
    title: ClassVar = "Karcher mean"
    paper: ClassVar = "https://doi.org/10.1002/cpa.3160300502"
    formula: ClassVar = "u = argmin_u sum_i c_i angle(u, u_i)^2,  |theta| = sum_i c_i |theta_i|"
    color: ClassVar = "#1b9048"

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        if slot.experts.stride(0) == 0:  # the same in every expert, which is then the centre
            return slot.mean, Treatment("karcher")
        weights = torch.tensor(slot.weights, dtype=torch.float64)
        directions = measure_directions(slot.experts)
        is_counted = weights > 0
        if (directions.lengths[is_counted] == 0).any():
            return slot.mean, Treatment("mean", reason="an expert is zero here and has no direction")
        versines = directions.versines[is_counted][:, is_counted]
        found = _find_centre(versines, weights[is_counted])
        if found is None:
            return slot.mean, Treatment("mean", reason="the experts' directions are opposite and have no centre")
        coordinates, step = found
        factors = torch.zeros_like(weights)
        factors[is_counted] = coordinates * (weights @ directions.lengths) / directions.lengths[is_counted]
        reason = "" if step <= TOLERANCE else f"not converged: step {MAX_STEPS} still moved it by {step:.1e} radians"
        merged = torch.tensordot(factors.to(slot.experts.dtype), slot.experts, dims=1)
        return merged, Treatment("karcher", reason=reason)


def _find_centre(
    versines: Float[Tensor, "n n"], weights: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " n"], float] | None:
    """Coordinates of the centre and the length of the last step; None where directions are opposite.

    Steps of gradient descent, m <- exp_m(sum_i c_i log_m(u_i)), from the mean of the directions. Scalar products of
    unit vectors are 1 - versine, so a vector with coordinates x has the squared length (sum x)^2 - x^T versines x,
    which keeps its digits where the sum is small: for differences of directions.
    """

    def measure(x: Float[Tensor, "n ..."]) -> Float[Tensor, "..."]:
        return (x.sum(0).square() - (x * (versines @ x)).sum(0)).clamp_min(0).sqrt()

    centre, step = weights, math.inf
    if measure(centre) < UNDEFINED:
        return None
    for _ in range(MAX_STEPS):
        centre = centre / measure(centre)
        chords = measure(centre[:, None] - torch.eye(len(weights), dtype=torch.float64))
        angles = 2 * torch.asin((chords / 2).clamp_max(1))
        if angles.max() > torch.pi - UNDEFINED:
            return None
        # log_m(u_i) = angle / sin(angle) (u_i - cos(angle) m)
        pulls = weights / torch.sinc(angles / torch.pi)
        move = pulls - (pulls * angles.cos()).sum() * centre
        step = measure(move).item()
        if step <= TOLERANCE:
            break
        centre = math.cos(step) * centre + math.sin(step) / step * move
    return centre, step
