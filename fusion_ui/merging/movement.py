"""How far a merged parameter lies from the mean and from each expert."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.merging.interference import NO_CHANGE, iterate_changes
from fusion_ui.methods.slot import ParameterSlot


@dataclass(frozen=True)
class Movement:
    """Distances, with task vectors tau_i = W_i - W_0 from the base, or from the mean where there is none.

    Attributes:
        from_mean: ||W - Wbar|| / sqrt(sum_i c_i ||W_i - Wbar||^2): 1 is as far as the experts themselves typically
            lie from their mean; None where they are all the same.
        from_experts: ||W - W_i|| / ||tau_i||: 0 at the expert, 1 as far from it as the base (or mean) is; None for
            an expert that did not change this parameter.
    """

    from_mean: float | None
    from_experts: tuple[float | None, ...]


def measure_movement(
    slot: ParameterSlot, merged: Float[Tensor, "..."], scale: Float[Tensor, " n"] | None = None
) -> Movement:
    """Compare a merged parameter, as (out, in) like the slot's, with what it was made of; in float64.

    Args:
        scale: what an entry counts, by input feature; all the same without it.
    """
    products = _inner_products(slot, merged, scale)
    num_experts, weights = len(slot.weights), torch.tensor(slot.weights, dtype=torch.float64)

    def norm(merged: float, experts: Sequence[float] | Tensor) -> float:
        """|| merged (W - W_0) + sum_i experts_i tau_i ||"""
        vector = torch.cat([torch.tensor([0.0, merged], dtype=torch.float64), torch.as_tensor(experts).double()])
        return math.sqrt(max((vector @ products @ vector).item(), 0.0))

    units = torch.eye(num_experts, dtype=torch.float64)
    smallest = NO_CHANGE * math.sqrt(products[0, 0].item())
    spread = math.sqrt(sum(c * norm(0, unit - weights) ** 2 for c, unit in zip(slot.weights, units, strict=True)))
    changes = [norm(0, unit) for unit in units]
    is_change = [change > smallest for change in changes]

    return Movement(
        norm(1, -weights) / spread if spread > smallest else None,
        tuple(norm(1, -unit) / changes[i] if is_change[i] else None for i, unit in enumerate(units)),
    )


def _inner_products(slot: ParameterSlot, merged: Tensor, scale: Tensor | None) -> Float[Tensor, "vector vector"]:
    """Inner products of W_0, W - W_0 and every tau_i, block by block."""
    flat, is_same = merged.reshape(-1), slot.experts.stride(0) == 0
    num_rows = 1 if is_same else len(slot.weights)  # one stands for all, and its products are repeated at the end
    products = torch.zeros(2 + num_rows, 2 + num_rows, dtype=torch.float64)
    for block, reference, changes in iterate_changes(slot):
        vectors = torch.cat([reference[None], flat[None, block].double() - reference, changes])
        if scale is not None:
            vectors *= scale.repeat(len(flat) // len(scale))[block]
        products += vectors @ vectors.T
    each = [0, 1, *(2 + (0 if is_same else i) for i in range(len(slot.weights)))]
    return products[each][:, each]
