"""A sum of x x^T over many rows: each product of two features once, and exact enough at the speed of float32.

Half of a Gram matrix is the mirror of the other half. So it is cut into tiles, squares along the diagonal and, above
them, ever larger blocks, and the tiles below are never computed. Rows are multiplied and added in float32 until
`ROWS_IN_FLOAT32` are in, and these sums are added in float64: an entry's error stays near that of float32 rounding,
1e-7 of sqrt(G_ii G_jj), whatever the number of rows.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

ROWS_IN_FLOAT32 = 2048
"""Rows that are summed in float32. Fewer cost more passes over the float64 sums, which are larger than the rows."""
WIDTH_OF_SQUARES = 192
"""Features of a tile on the diagonal, at most. Smaller ones waste less on mirrored products, but multiply slower."""


class GramSum:
    """The sum of x x^T over the rows that were added.

    Attributes:
        width: features of a row.
        num_rows: rows added.
    """

    def __init__(self, width: int) -> None:
        self.width, self.num_rows = width, 0
        self._tiles = _cut(0, width)
        shapes = [(len(rows), len(columns)) for rows, columns in self._tiles]
        self._recent = [torch.zeros(shape) for shape in shapes]
        self._total = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
        self._num_recent = 0

    def add(self, rows: Float[Tensor, "row n"]) -> None:
        """Add x x^T of every row x; rows of a lower precision are taken as float32."""
        for part in rows.float().split(ROWS_IN_FLOAT32):
            if self._num_recent + len(part) > ROWS_IN_FLOAT32:
                self._settle()
            for tile, (first, second) in zip(self._recent, self._tiles, strict=True):
                tile.addmm_(part[:, first.start : first.stop].T, part[:, second.start : second.stop])
            self._num_recent += len(part)
        self.num_rows += len(rows)

    def total(self) -> Float[Tensor, "n n"]:
        """The whole symmetric matrix, in float64."""
        with torch.inference_mode():  # as rows may have been added
            self._settle()
        gram = torch.empty(self.width, self.width, dtype=torch.float64)
        for tile, (first, second) in zip(self._total, self._tiles, strict=True):
            gram[first.start : first.stop, second.start : second.stop] = tile
            if first != second:
                gram[second.start : second.stop, first.start : first.stop] = tile.T
        return gram

    def _settle(self) -> None:
        for total, tile in zip(self._total, self._recent, strict=True):
            total += tile
            tile.zero_()
        self._num_recent = 0


@lru_cache(maxsize=64)
def _cut(start: int, stop: int) -> tuple[tuple[range, range], ...]:
    """Tiles, as ranges of features, that cover the diagonal and all that lies above it."""
    if stop - start <= WIDTH_OF_SQUARES:
        return ((range(start, stop), range(start, stop)),)
    middle = (start + stop) // 2
    corner = (range(start, middle), range(middle, stop))
    return (corner, *_cut(start, middle), *_cut(middle, stop))
