"""Sign election: where experts pull an entry in opposite directions, the heavier side decides."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

ENTRIES_AT_ONCE = 1 << 18
"""Entries voted on in one go: what is worked out on the way then stays in the processor's cache."""


def average_agreeing(
    vectors: Sequence[Float[Tensor, "..."]], coefficients: Sequence[float]
) -> tuple[Float[Tensor, "..."], float]:
    """The mean over the experts that agree with the elected sign, entry by entry (TIES, Algorithm 1, steps 2 and 3).

        gamma = sgn(sum_i c_i tau_i),   A = {i: sgn(tau_i) = gamma},   tau = sum_{i in A} c_i tau_i / sum_{i in A} c_i

    Zeros have no sign and are not counted. Where the sides are equal, up to the rounding of their sum, the sign is 0,
    no expert agrees, and the entry is zero, so that the order of the experts decides nothing. (There the authors' code
    elects the majority of the whole model, and mergekit plus.)

    Args:
        vectors: tau_i of every expert, one at least.
        coefficients: c_i.

    Returns:
        The mean, and the share of entries in which the experts pull both ways.
    """
    weights = torch.tensor(coefficients, dtype=vectors[0].dtype).unsqueeze(1)
    rounding = len(vectors) * torch.finfo(weights.dtype).eps
    mean, num_conflicts = torch.empty_like(vectors[0], memory_format=torch.contiguous_format), 0
    parts = [vector.flatten().split(ENTRIES_AT_ONCE) for vector in vectors]
    for part, *found in zip(mean.flatten().split(ENTRIES_AT_ONCE), *parts, strict=True):
        weighted = weights * torch.stack(found)
        total = weighted.sum(0)
        is_elected = total.abs() > rounding * weighted.abs().sum(0)
        agrees = weighted.sign() == total.sign()
        part.copy_(torch.where(is_elected, (agrees * weighted).sum(0) / (agrees * weights).sum(0), 0.0))
        num_conflicts += int(((weighted > 0).any(0) & (weighted < 0).any(0)).sum())
    return mean, num_conflicts / mean.numel()
