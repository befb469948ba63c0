"""A sum of x x^T over many rows: each product of two features once, and exact enough at the speed of float32.

Half of a Gram matrix is the mirror of the other half, so only the upper one is summed, and mirrored in the end. Rows
are multiplied and added in float32 until `ROWS_IN_FLOAT32` are in, and these sums are added in float64: an entry's
error stays near that of float32 rounding, 1e-7 of sqrt(G_ii G_jj), whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.statistics.symmetric_products import add_products

ROWS_IN_FLOAT32 = 8192
"""Rows that are summed in float32. Fewer cost more passes over the sums, which are larger than a batch of rows."""
STRIP = 128
"""Features whose products are moved and mirrored at a time, so that what is read across lies in the cache."""


class GramSum:
    """The sum of x x^T over the rows that were added.

    Attributes:
        width: features of a row.
        num_rows: rows added.
    """

    def __init__(self, width: int, device: torch.device | None = None) -> None:
        self.width, self.num_rows = width, 0
        self._recent = torch.empty(width, width, device=device)
        self._num_recent = 0
        self._total: Tensor | None = None

    def add(self, rows: Float[Tensor, "row n"]) -> None:
        """Add x x^T of every row x; rows of a lower precision are taken as float32."""
        for part in rows.float().contiguous().split(ROWS_IN_FLOAT32):
            if self._num_recent + len(part) > ROWS_IN_FLOAT32:
                self._settle()
            if part.device.type == "cpu":
                add_products(self._recent, part, self._num_recent == 0)
            else:
                self._recent.addmm_(part.T, part, beta=int(self._num_recent > 0))
            self._num_recent += len(part)
        self.num_rows += len(rows)

    @torch.inference_mode()
    def absorb(self, other: GramSum) -> None:
        """Add the rows that another sum of the same width has."""
        if self._num_recent + other._num_recent > ROWS_IN_FLOAT32:
            self._settle()
        for rows, columns in self._strips() if other._num_recent else ():
            mine, theirs = self._recent[rows, columns], other._recent[rows, columns]
            mine.add_(theirs) if self._num_recent else mine.copy_(theirs)
        self._num_recent += other._num_recent
        if other._total is not None:
            self._total = other._total if self._total is None else self._total.add_(other._total)
        self.num_rows += other.num_rows

    @torch.inference_mode()
    def total(self) -> Float[Tensor, "n n"]:
        """The whole symmetric matrix, in float64."""
        total = self._settle()
        for rows, _ in self._strips():
            corner = total[rows, rows]
            corner.copy_(corner.triu() + corner.triu(1).T)
            beyond = slice(rows.stop, None)
            total[beyond, rows] = total[rows, beyond].T
        return total

    def _settle(self) -> Float[Tensor, "n n"]:
        """The total, with the recent sums moved into it; what lies below its diagonal means nothing."""
        is_first = self._total is None
        if self._total is None:
            new = torch.empty if self._num_recent else torch.zeros
            self._total = new(self.width, self.width, dtype=torch.float64, device=self._recent.device)
        for rows, columns in self._strips() if self._num_recent else ():
            place, recent = self._total[rows, columns], self._recent[rows, columns]
            place.copy_(recent) if is_first else place.add_(recent)
        self._num_recent = 0
        return self._total

    def _strips(self) -> Iterator[tuple[slice, slice]]:
        """Rows with the columns from the diagonal on: together the upper half, and a little below it."""
        for start in range(0, self.width, STRIP):
            yield slice(start, min(start + STRIP, self.width)), slice(start, None)
