"""Two models' answers to the same sentences: how much better is the one, and is that clear?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from jaxtyping import Bool
from torch import Tensor

Right = tuple[Bool[Tensor, " _"], ...]
"""For every domain, which of its first examples were answered as the label says."""


@dataclass(frozen=True)
class Difference:
    """How much more of a domain the first of two models answers right, mean over domains, with an interval."""

    value: float
    low: float
    high: float


def paired_difference(
    first: Right, second: Right, miss: float = 0.025, totals: Sequence[int] | None = None
) -> Difference:
    """The difference on the examples that both answered, every domain counting the same.

    Where models agree they tell nothing apart, so the interval is built from the examples on which one alone is right:
    the adjusted Wald interval of Bonett and Price (2012), which holds where these are few or none.

    Args:
        miss: chance that the truth lies beyond one given end; 0 makes the interval infinite.
        totals: sizes of the domains, of which the examples are a random sample. The interval is then for the
            difference on exactly these sentences, and shrinks to nothing when all were answered; without them it is
            for all text of such domains.
    """
    value = centre = variance = 0.0
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        count = min(len(a), len(b))
        a, b = a[:count], b[:count]
        gained, lost = int((a & ~b).sum()), int((b & ~a).sum())
        value += (gained - lost) / count
        p, q = (gained + 1) / (count + 2), (lost + 1) / (count + 2)
        centre += p - q
        left = 1.0 if totals is None else 1 - count / totals[i]
        variance += left * (p + q - (p - q) ** 2) / (count + 2)
    num_domains = len(first)
    z = NormalDist().inv_cdf(1 - miss) if miss else math.inf
    half = z * math.sqrt(variance) if variance else 0.0
    return Difference(value / num_domains, (centre - half) / num_domains, (centre + half) / num_domains)
