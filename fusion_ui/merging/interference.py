"""How the experts' changes of a parameter lie to each other: what a merge can keep of all of them, and what it cannot.

Changes in one direction are kept by any mean. Changes at right angles are kept too, each of them weakened to its share.
Changes that point apart cancel, and no weighting of whole tensors brings them back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.methods.slot import ParameterSlot

BLOCK = 1 << 20
"""Entries a step: their float64 copies take a few tens of megabytes, whatever the parameter's size."""
NO_CHANGE = 1e-12
"""Size of a change, relative to the parameter's, up to which it is the rounding of float64 and no change."""

Table = tuple[tuple[float, ...], ...]
"""A number for every two experts."""


@dataclass(frozen=True)
class Interference:
    """Of one parameter, or of several added up, with tau_i = W_i - W_0 from the base or, without one, from the mean.

    From the mean the changes sum to zero, so cosines lean towards -1 / (n - 1), and two experts are always at -1: only
    a base makes them speak.

    Attributes:
        products: inner products of tau_i and tau_j.
        num_both, num_opposed: entries that both experts changed, and those of them changed in opposite directions.
        size: squared norm of W_0.
        is_from_base: W_0 is the base's parameter.
    """

    products: Table
    num_both: Table
    num_opposed: Table
    size: float
    is_from_base: bool

    def __add__(self, other: Interference) -> Interference:
        """Both parameters as if they were one."""
        if not isinstance(other, Interference):
            return NotImplemented
        return Interference(
            _add(self.products, other.products),
            _add(self.num_both, other.num_both),
            _add(self.num_opposed, other.num_opposed),
            self.size + other.size,
            self.is_from_base and other.is_from_base,
        )

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Every two experts, once."""
        return tuple(combinations(range(len(self.products)), 2))

    def cosine(self, i: int, j: int) -> float | None:
        """Between two experts' changes; None where one of them changed nothing."""
        if not (self._is_changed(i) and self._is_changed(j)):
            return None
        return self.products[i][j] / math.sqrt(self.products[i][i] * self.products[j][j])

    def distance(self, i: int, j: int) -> float | None:
        """||W_i - W_j|| / ||W_0||; None where W_0 is zero."""
        squared = self.products[i][i] + self.products[j][j] - 2 * self.products[i][j]
        return math.sqrt(max(squared, 0.0) / self.size) if self.size else None

    def opposed(self, i: int, j: int) -> float | None:
        """Share, of the entries that both changed, of those changed in opposite directions; half is what chance gives.

        None where there are none.
        """
        return self.num_opposed[i][j] / self.num_both[i][j] if self.num_both[i][j] else None

    @property
    def mean_cosine(self) -> float | None:
        """Mean over the pairs of experts that both changed something."""
        found = [c for pair in self.pairs if (c := self.cosine(*pair)) is not None]
        return sum(found) / len(found) if found else None

    def _is_changed(self, i: int) -> bool:
        return self.products[i][i] > NO_CHANGE**2 * self.size and self.products[i][i] > 0


def measure_interference(slot: ParameterSlot) -> Interference:
    """Compare the experts' changes of one parameter, in float64."""
    num_experts, size = len(slot.weights), 0.0
    products, both, same = (torch.zeros(num_experts, num_experts, dtype=torch.float64) for _ in range(3))
    for _, reference, changes in iterate_changes(slot):
        changes = changes.expand(num_experts, -1)
        size += reference.square().sum().item()
        products += changes @ changes.T
        is_change = changes.abs() > NO_CHANGE * reference.abs()
        signs = (changes.sign() * is_change).float()  # sums of up to 2^20 ones and minus ones are exact
        both += (signs.abs() @ signs.abs().T).double()
        same += (signs @ signs.T).double()
    opposed = (both - same) / 2
    return Interference(_to_table(products), _to_table(both), _to_table(opposed), size, slot.base is not None)


def iterate_changes(
    slot: ParameterSlot,
) -> Iterator[tuple[slice, Float[Tensor, " n"], Float[Tensor, "expert n"]]]:
    """W_0, or the mean where there is none, and every tau_i, block by block, in float64.

    Where a parameter is the same in every expert, one row stands for all.
    """
    is_same = slot.experts.stride(0) == 0
    experts = slot.experts[: 1 if is_same else None].flatten(1)
    base = None if slot.base is None else slot.base.reshape(-1)
    weights = torch.tensor([1.0] if is_same else slot.weights, dtype=torch.float64)
    for start in range(0, experts.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        own = experts[:, block].double()
        reference = weights @ own if base is None else base[block].double()
        yield block, reference, own - reference


def _to_table(matrix: Float[Tensor, "n n"]) -> Table:
    return tuple(tuple(row) for row in matrix.tolist())


def _add(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> Table:
    return tuple(tuple(a + b for a, b in zip(x, y, strict=True)) for x, y in zip(one, other, strict=True))
