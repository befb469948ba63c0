"""A sum of x x^T over many rows: each product of two features once, and exact enough at the speed of float32.

Half of a Gram matrix is the mirror of the other half. So it is cut into blocks: the square beside the diagonal's two
halves, and each of these halves in the same way, until a block on the diagonal is small enough to be computed whole.
What lies below the diagonal is mirrored in the end. Rows are multiplied and added in float32 until `ROWS_IN_FLOAT32`
are in, and these sums are added in float64: an entry's error stays near that of float32 rounding, 1e-7 of
sqrt(G_ii G_jj), whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

ROWS_IN_FLOAT32 = 8192
"""Rows that are summed in float32. Fewer cost more passes over the sums, which are larger than a batch of rows."""
SMALLEST = 96
"""Features of a block on the diagonal, at most. Smaller ones waste less on mirrored products, but multiply slower."""


class GramSum:
    """The sum of x x^T over the rows that were added.

    Attributes:
        width: features of a row.
        num_rows: rows added.
    """

    def __init__(self, width: int, device: torch.device | None = None) -> None:
        self.width, self.num_rows = width, 0
        self._blocks = list(_cut(0, width))
        self._recent = [torch.empty(len(rows), len(columns), device=device) for rows, columns in self._blocks]
        self._num_recent = 0
        self._device = device
        self._total: Tensor | None = None

    def add(self, rows: Float[Tensor, "row n"]) -> None:
        """Add x x^T of every row x; rows of a lower precision are taken as float32."""
        for part in rows.float().split(ROWS_IN_FLOAT32):
            if self._num_recent + len(part) > ROWS_IN_FLOAT32:
                self._settle()
            is_begun = int(self._num_recent > 0)
            for block, (a, b) in zip(self._recent, self._blocks, strict=True):
                block.addmm_(part[:, a.start : a.stop].T, part[:, b.start : b.stop], beta=is_begun)
            self._num_recent += len(part)
        self.num_rows += len(rows)

    @torch.inference_mode()
    def absorb(self, other: GramSum) -> None:
        """Add the rows that another sum of the same width has."""
        if self._num_recent + other._num_recent > ROWS_IN_FLOAT32:
            self._settle()
        for mine, theirs in zip(self._recent, other._recent, strict=True):
            if self._num_recent and other._num_recent:
                mine += theirs
            elif other._num_recent:
                mine.copy_(theirs)
        self._num_recent += other._num_recent
        if other._total is not None:
            self._total = other._total if self._total is None else self._total.add_(other._total)
        self.num_rows += other.num_rows

    @torch.inference_mode()
    def total(self) -> Float[Tensor, "n n"]:
        """The whole symmetric matrix, in float64."""
        total = self._settle()
        for a, b in self._blocks:
            if a != b:
                total[b.start : b.stop, a.start : a.stop] = total[a.start : a.stop, b.start : b.stop].T
        return total

    def _settle(self) -> Float[Tensor, "n n"]:
        """The total, with the recent sums moved into it."""
        is_first = self._total is None
        if self._total is None:
            new = torch.empty if self._num_recent else torch.zeros  # all that is read will be written first
            self._total = new(self.width, self.width, dtype=torch.float64, device=self._device)
        if self._num_recent:
            for block, (a, b) in zip(self._recent, self._blocks, strict=True):
                place = self._total[a.start : a.stop, b.start : b.stop]
                place.copy_(block) if is_first else place.add_(block)
            self._num_recent = 0
        return self._total


def _cut(start: int, stop: int) -> Iterator[tuple[range, range]]:
    """Features against features: the blocks of an upper triangle, those on the diagonal whole."""
    if stop - start <= SMALLEST:
        yield range(start, stop), range(start, stop)
        return
    middle = (start + stop) // 2
    yield range(start, middle), range(middle, stop)
    yield from _cut(start, middle)
    yield from _cut(middle, stop)
