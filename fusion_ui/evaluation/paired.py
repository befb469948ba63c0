"""Two models' answers to the same sentences: how much better is the one, and is that clear?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from jaxtyping import Bool
from torch import Tensor

from fusion_ui.evaluation.stream import EncodedDomain
from fusion_ui.tasks.metrics import Counts, Metric

Right = tuple[Bool[Tensor, " _"], ...]
"""For every domain, which of its first examples were answered as the label says."""


@dataclass(frozen=True)
class Difference:
    """How much more of a domain the first of two models answers right, mean over domains, with an interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Judged:
    """One model's answers to a domain's first examples, as its metric counts them.

    Attributes:
        right: which are right, where the metric is the share of right answers; else None.
    """

    metric: Metric
    counts: Counts
    right: Bool[Tensor, " _"] | None

    @property
    def value(self) -> float:
        """The metric."""
        return float(self.metric.finish(self.counts.sum(0)))

    @property
    def merit(self) -> float:
        """The metric, such that more is better."""
        return -self.value if self.metric.is_smaller_better else self.value


def judge(encoded: EncodedDomain, rows: Tensor) -> Judged:
    """The answers to the first examples of a domain, as many as there are rows."""
    metric = encoded.metric
    counts = metric.count(rows, encoded.targets[: len(rows)]).double()
    is_of_examples = metric.is_share and bool((counts[:, 1] == 1).all())
    return Judged(metric, counts, counts[:, 0] > 0 if is_of_examples else None)


def metric_difference(first: Sequence[Judged], second: Sequence[Judged]) -> Difference:
    """How much better the first model scores on the same examples, mean over domains, with a 95 % interval.

    The interval is that of `paired_difference` where every metric is the share of right answers, else a percentile
    bootstrap in which both models answer the same resampled examples.
    """
    rights = [(a.right, b.right) for a, b in zip(first, second, strict=True)]
    if all(a is not None and b is not None for a, b in rights):
        return paired_difference(tuple(a for a, _ in rights), tuple(b for _, b in rights))  # pyright: ignore
    signs = [-1.0 if a.metric.is_smaller_better else 1.0 for a in first]
    value = sum(sign * (a.value - b.value) for sign, a, b in zip(signs, first, second, strict=True)) / len(first)
    resampled = [
        sign * (a.metric.resample(a.counts) - b.metric.resample(b.counts))
        for sign, a, b in zip(signs, first, second, strict=True)
    ]
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    # A resample may hold nothing that a metric counts, such as sentences of which no word was read.
    low, high = torch.stack(resampled).mean(0).nanquantile(ends).tolist()
    return Difference(value, min(low, value), max(high, value))


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
