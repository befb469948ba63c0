"""Sign election: where experts pull an entry in opposite directions, the heavier side decides."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor


def average_agreeing(
    vectors: Iterable[tuple[float, Float[Tensor, "..."]]], like: Float[Tensor, "..."]
) -> tuple[Float[Tensor, "..."], float]:
    """The mean over the experts that agree with the elected sign, entry by entry (TIES, Algorithm 1, steps 2 and 3).

        gamma = sgn(sum_i c_i tau_i),   A = {i: sgn(tau_i) = gamma},   tau = sum_{i in A} c_i tau_i / sum_{i in A} c_i

    Zeros have no sign and are not counted. Where the sides are equal the sign is 0, no expert agrees, and the
    entry is zero. (There the authors' code elects the majority of the whole model, and mergekit plus.)

    Args:
        vectors: c_i and tau_i of every expert, read one after another.
        like: a tensor of the same shape and type.

    Returns:
        The mean, and the share of entries in which the experts pull both ways.
    """
    up, down, weight_up, weight_down = (torch.zeros_like(like) for _ in range(4))
    for coefficient, vector in vectors:
        up.add_(vector.clamp(min=0), alpha=coefficient)
        down.add_(vector.clamp(max=0), alpha=coefficient)
        weight_up.add_(vector > 0, alpha=coefficient)
        weight_down.add_(vector < 0, alpha=coefficient)
    share = ((up > 0) & (down < 0)).count_nonzero().item() / max(1, like.numel())
    total = up + down
    mean = torch.where(total > 0, up / weight_up, torch.where(total < 0, down / weight_down, 0.0))
    return mean, share
