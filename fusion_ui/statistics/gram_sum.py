"""A sum of x x^T over many rows: each product of two features once, and exact enough at the speed of float32.

Half of a Gram matrix is the mirror of the other half. So it is cut into strips of columns, each from the top down to
the diagonal, and what lies below is mirrored in the end. Rows are multiplied and added in float32 until
`ROWS_IN_FLOAT32` are in, and these sums are added in float64: an entry's error stays near that of float32 rounding,
1e-7 of sqrt(G_ii G_jj), whatever the number of rows.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

ROWS_IN_FLOAT32 = 2048
"""Rows that are summed in float32. Fewer cost more passes over the float64 sums, which are larger than the rows."""
STRIP = 192
"""Columns of a strip, at most. Narrower ones waste less on mirrored products, but multiply slower."""


class GramSum:
    """The sum of x x^T over the rows that were added.

    Attributes:
        width: features of a row.
        num_rows: rows added.
    """

    def __init__(self, width: int, device: torch.device | None = None) -> None:
        self.width, self.num_rows = width, 0
        self._ends = [(start, min(start + STRIP, width)) for start in range(0, width, STRIP)]
        self._recent = [torch.zeros(stop, stop - start, device=device) for start, stop in self._ends]
        self._total = torch.zeros(width, width, dtype=torch.float64, device=device)
        self._num_recent = 0

    def add(self, rows: Float[Tensor, "row n"]) -> None:
        """Add x x^T of every row x; rows of a lower precision are taken as float32."""
        for part in rows.float().split(ROWS_IN_FLOAT32):
            if self._num_recent + len(part) > ROWS_IN_FLOAT32:
                self._settle()
            for strip, (start, stop) in zip(self._recent, self._ends, strict=True):
                strip.addmm_(part[:, :stop].T, part[:, start:stop])
            self._num_recent += len(part)
        self.num_rows += len(rows)

    def total(self) -> Float[Tensor, "n n"]:
        """The whole symmetric matrix, in float64."""
        self._settle()
        for start, stop in self._ends:
            self._total[start:stop, :start] = self._total[:start, start:stop].T
        return self._total

    def _settle(self) -> None:
        for strip, (start, stop) in zip(self._recent, self._ends, strict=True):
            self._total[:stop, start:stop] += strip
            strip.zero_()
        self._num_recent = 0
