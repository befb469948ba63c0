"""Singular values and vectors of updates, in float64, without those that only rounding made."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

SQUARABLE = 1e-7
"""Floor, relative to the norm, from which a matrix may be decomposed by its Gram matrix, see `decompose`."""

NOTHING_LEFT = "no change of the experts is larger than what rounding may have made"
"""Why a method on directions gives the base back: there was none above the floor."""

SHARED = torch.finfo(torch.float64).eps ** 0.5
"""Singular value of unit vectors side by side up to which some of them are the same direction to the last digit."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The strongest directions of a matrix: left diag(values) right.

    Attributes:
        left, right: columns and rows of unit length, at right angles to each other.
        values: singular values, descending.
        num_cut: singular values that were asked for but lie at or below the floor.
    """

    left: Float[Tensor, "out k"]
    values: Float[Tensor, " k"]
    right: Float[Tensor, "k n"]
    num_cut: int


def rounding_floor(weight: Float[Tensor, "out n"], eps: float) -> float:
    """Up to which singular value the difference of two such weights, stored with that eps, may be rounding alone.

    A weight is stored to half an eps of each entry, so its rounding has at most half of eps times its Frobenius norm,
    and a difference has twice that. The difference itself may be far smaller: an adapter of rank 16, folded into 384
    columns, leaves 368 singular values of 1e-7 beside 16 of 1e-1, and these are no directions of any task.
    """
    return eps * torch.linalg.vector_norm(weight).item()


def decompose(matrix: Float[Tensor, "out n"], floor: float, rank: int | None = None) -> Spectrum:
    """The singular values above `floor`, and of these the `rank` largest, with their directions.

    The eigenvectors of the small side's Gram matrix are had three times as fast as singular vectors. Squaring moves a
    direction of singular value s by eps64 (s_1 / s)^2. Rounding to float32 had moved it by floor / s before, which is
    more for every s above the floor; where the floor is lower, as for float64, the matrix itself is decomposed.
    """
    matrix = matrix.double()
    rank = min(matrix.shape) if rank is None else rank
    if floor < SQUARABLE * torch.linalg.vector_norm(matrix).item():
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        num_kept = int((values[:rank] > floor).sum())
        return Spectrum(left[:, :num_kept], values[:num_kept], right[:num_kept], rank - num_kept)
    if matrix.shape[0] < matrix.shape[1]:
        found = decompose(matrix.T, floor, rank)
        return Spectrum(found.right.T, found.values, found.left.T, found.num_cut)
    squares, vectors = torch.linalg.eigh(matrix.T @ matrix)
    values = squares.clamp_min(0).sqrt().flip(0)[:rank]
    num_kept = int((values > floor).sum())
    values, right = values[:num_kept], vectors.flip(1)[:, :num_kept]
    return Spectrum(matrix @ right / values, values, right.T, rank - num_kept)


def nearest_orthonormal(vectors: Float[Tensor, "n k"]) -> tuple[Float[Tensor, "n k"], int]:
    """The matrix with orthonormal columns nearest to `vectors` (Procrustes), and how many directions were cut.

    The columns have unit length. Where some are the same direction, the nearest such matrix is not unique; that
    direction then stays shared by them, and together they have its length.
    """
    if vectors.numel() == 0:
        return vectors, 0
    found = decompose(vectors, SHARED)
    return found.left @ found.right, found.num_cut
