"""Which entries of a task vector stay: the large ones, those between two bounds, or a random choice, scaled up."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

ROWS_AT_ONCE = 4096
"""Rows ranked in one go: the indices of a whole embedding take twice the memory of the embedding."""


def keep_largest(vector: Float[Tensor, "..."], density: float) -> Float[Tensor, "..."]:
    """The share `density` of the entries that is largest in magnitude; the others zero (TIES, Algorithm 1, step 1).

    Of n entries floor(density n) are kept, at least one, which is one fewer than the authors' code keeps. Entries as
    large as the smallest one kept are kept with it, as there, so that ties do not depend on an order.
    """
    num_entries = vector.numel()
    return keep_between(vector, num_entries - max(1, int(density * num_entries)), 0)


def keep_between(vector: Float[Tensor, "..."], num_smallest: int, num_largest: int) -> Float[Tensor, "..."]:
    """All but the `num_smallest` smallest and the `num_largest` largest entries in magnitude, which become zero.

    Entries as large as the smallest or largest one kept are kept with it.
    """
    last = vector.numel() - num_largest - 1
    if num_smallest > last:
        return torch.zeros_like(vector)
    magnitudes = vector.abs()
    # torch.kthvalue would build an index for every entry, and takes two and a half times as long.
    ordered = np.partition(magnitudes.flatten().numpy(), (num_smallest, last))
    is_kept = (magnitudes >= float(ordered[num_smallest])) & (magnitudes <= float(ordered[last]))
    return torch.where(is_kept, vector, 0.0)


def drop_and_rescale(
    vector: Float[Tensor, "..."], probability: float | Float[Tensor, "..."], generator: torch.Generator
) -> Float[Tensor, "..."]:
    """Keep each entry by chance and divide it by that chance, which leaves the expectation as it was (DARE).

    Args:
        probability: that an entry is kept, 1 - p in the papers; one for all or one for each.
    """
    # Drawn in float32 whatever the vector's type, so that the choice is the same in every type.
    is_kept = torch.rand(vector.shape, generator=generator) < probability
    return torch.where(is_kept, vector / probability, 0.0)


def rank_probabilities(vector: Float[Tensor, "..."], density: float, window: float) -> Float[Tensor, "..."]:
    """Probabilities of being kept that grow with the rank of an entry's magnitude in its row (DELLA, MagPrune).

    They rise evenly from density - window / 2 for the smallest to density + window / 2 for the largest entry, as in
    the authors' code. A row is an output of a linear weight, a token of an embedding, or the whole of a vector. Where
    probabilities would leave 0 to 1, the window is narrower. Entries of one magnitude rank by position.
    """
    rows = vector.abs().reshape(vector.shape[0] if vector.ndim > 1 else 1, -1)
    num_columns = rows.shape[1]
    window = min(window, 2 * density, 2 * (1 - density)) if num_columns > 1 else 0
    steps = torch.linspace(density - window / 2, density + window / 2, num_columns, dtype=vector.dtype)
    probabilities = torch.empty_like(rows)
    for some, found in zip(rows.split(ROWS_AT_ONCE), probabilities.split(ROWS_AT_ONCE), strict=True):
        found.scatter_(1, some.argsort(dim=1, stable=True), steps.expand_as(some))
    return probabilities.reshape(vector.shape)
