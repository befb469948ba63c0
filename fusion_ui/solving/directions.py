"""Vectors of any shape as lengths and directions: all that methods on the sphere of directions need to know.

Experts fine-tuned from one base lie a thousandth of a radian apart, where 1 - cos(angle) is 1e-6 and a cosine has lost
half of its digits. So the distance from a cosine of 1 is what is computed, from differences of unit vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

NUMBERS_PER_PIECE = 2**20
"""Numbers that are float64 at a time, whatever the size of the vectors: an embedding is most of a model."""


@dataclass(frozen=True, eq=False)
class Directions:
    """Lengths of vectors and the angles between them, in float64.

    Attributes:
        lengths: Euclidean norms.
        versines: 1 - cos of the angle between every two; 1, as for a right angle, where one of them is zero.
    """

    lengths: Float[Tensor, " n"]
    versines: Float[Tensor, "n n"]


def measure_directions(vectors: Float[Tensor, "n ..."]) -> Directions:
    """Lengths and versines, in two passes over the vectors: |u_i - u_j|^2 / 2 for unit vectors u_i.

    The Gram matrix is that of the unit vectors minus their mean, so a small versine keeps its digits.
    """
    count = len(vectors)
    squares = torch.zeros(count, dtype=torch.float64)
    for piece in _pieces(vectors):
        squares += piece.square().sum(1)
    lengths = squares.sqrt()
    is_zero = lengths == 0
    units_per_length = torch.where(is_zero, 0.0, 1 / lengths)[:, None]
    gram = torch.zeros(count, count, dtype=torch.float64)
    for piece in _pieces(vectors):
        units = piece * units_per_length
        units -= units.mean(0)
        gram.addmm_(units, units.T)
    diagonal = gram.diagonal()
    versines = ((diagonal[:, None] + diagonal) / 2 - gram).clamp(0, 2)
    versines[is_zero] = 1.0
    versines[:, is_zero] = 1.0
    return Directions(lengths, versines.fill_diagonal_(0.0))


def _pieces(vectors: Float[Tensor, "n ..."]) -> Iterator[Float[Tensor, "n _"]]:
    """All entries of every vector, so many at a time, in float64."""
    stacked = vectors if vectors.ndim > 1 else vectors[:, None]
    num_rows = max(1, NUMBERS_PER_PIECE // max(1, stacked[:, :1].numel()))
    for part in stacked.split(num_rows, dim=1):
        yield part.flatten(1).double()
