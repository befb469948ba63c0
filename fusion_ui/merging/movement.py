"""How far a merged parameter lies from the mean and from each expert, and how the experts' changes point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.methods.slot import ParameterSlot

BLOCK = 1 << 20
"""Entries a step: their float64 copies take a few tens of megabytes, whatever the parameter's size."""
NO_CHANGE = 1e-12
"""Norm of a change, relative to the parameter's, up to which it is the rounding of float64 and no change."""


@dataclass(frozen=True)
class Movement:
    """Distances and angles, with task vectors tau_i = W_i - W_0 from the base, or from the mean where there is none.

    Attributes:
        from_mean: ||W - Wbar|| / sqrt(sum_i c_i ||W_i - Wbar||^2): 1 is as far as the experts themselves typically
            lie from their mean; None where they are all the same.
        from_experts: ||W - W_i|| / ||tau_i||: 0 at the expert, 1 as far from it as the base (or mean) is; None for
            an expert that did not change this parameter.
        cosines: between every two task vectors; None where one of them is zero. From the mean they sum to zero, so
            they lean towards -1 / (n - 1), and two experts are always at -1: only a base makes them speak.
    """

    from_mean: float | None
    from_experts: tuple[float | None, ...]
    cosines: tuple[tuple[float | None, ...], ...]

    @property
    def mean_cosine(self) -> float | None:
        """Mean over the pairs of experts that both changed the parameter."""
        pairs = [c for i, row in enumerate(self.cosines) for c in row[:i] if c is not None]
        return sum(pairs) / len(pairs) if pairs else None


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

    def cosine(i: int, j: int) -> float | None:
        return products[2 + i, 2 + j].item() / (changes[i] * changes[j]) if is_change[i] and is_change[j] else None

    return Movement(
        norm(1, -weights) / spread if spread > smallest else None,
        tuple(norm(1, -unit) / changes[i] if is_change[i] else None for i, unit in enumerate(units)),
        tuple(tuple(cosine(i, j) for j in range(num_experts)) for i in range(num_experts)),
    )


def _inner_products(slot: ParameterSlot, merged: Tensor, scale: Tensor | None) -> Float[Tensor, "vector vector"]:
    """Inner products of W_0, W - W_0 and every tau_i, block by block."""
    # Frozen in every expert's training: one row stands for all, and the products are repeated at the end.
    is_same = slot.experts.stride(0) == 0
    experts, flat = slot.experts[: 1 if is_same else None].flatten(1), merged.reshape(-1)
    base = None if slot.base is None else slot.base.reshape(-1)
    weights = torch.tensor([1.0] if is_same else slot.weights, dtype=torch.float64)
    products = torch.zeros(2 + len(experts), 2 + len(experts), dtype=torch.float64)
    for start in range(0, len(flat), BLOCK):
        block = slice(start, start + BLOCK)
        own = experts[:, block].double()
        reference = weights @ own if base is None else base[block].double()
        vectors = torch.cat([reference[None], flat[None, block].double() - reference, own - reference])
        if scale is not None:
            vectors *= scale.repeat(len(flat) // len(scale))[block]
        products += vectors @ vectors.T
    each = [0, 1, *(2 + (0 if is_same else i) for i in range(len(slot.weights)))]
    return products[each][:, each]
