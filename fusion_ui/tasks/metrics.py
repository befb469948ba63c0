"""Metrics: how good answers are, from what is counted of every example.

A metric is a function of sums over examples: accuracy of (right answers, examples), F1 of (true positives, false
positives, false negatives). So a score of many resampled sets of examples is one matrix product, and every metric has
an interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.tasks.scales import PERCENT, Scale

NUM_RESAMPLES = 1_000
Counts = Float[Tensor, "example part"]


@dataclass(frozen=True)
class Score:
    """A metric's value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Metric:
    """One number for the answers to many examples.

    Attributes:
        name: as results and recipes have it.
        title: how people call it.
        count: from rows and targets of examples to what is summed over them, float64.
        finish: from sums (any leading dimensions) to the metric.
        is_share: the metric is the first sum divided by the second, a share of examples.
        is_smaller_better: as of perplexity; of all others larger is better.
        scale: how its values are written and drawn.
    """

    name: str
    title: str
    count: Callable[[Tensor, Sequence[Any]], Counts]
    finish: Callable[[Float[Tensor, "*resample part"]], Float[Tensor, "*resample"]]
    is_share: bool = False
    is_smaller_better: bool = False
    scale: Scale = PERCENT

    def score(self, rows: Tensor, targets: Sequence[Any]) -> Score:
        """The metric of the examples of `rows`, with Wilson's interval for a share, a bootstrap percentile one else."""
        if not len(rows):
            return Score(float("nan"), 0.0, 1.0)
        counts = self.count(rows, targets).double()
        value = float(self.finish(counts.sum(0)))
        if self.is_share:
            num_right, num_all = counts.sum(0).tolist()
            return Score(value, *wilson_interval(round(num_right), round(num_all)))
        resampled = self.resample(counts)
        low, high = resampled.nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        # A percentile of a skewed metric may miss the value itself, by little; an interval that does is no use.
        return Score(value, min(low, value), max(high, value))

    def resample(self, counts: Counts) -> Float[Tensor, " resample"]:
        """The metric of `NUM_RESAMPLES` samples of the examples; of the same ones for all models' answers to them."""
        return self.finish(_resamples(len(counts)) @ counts)


@lru_cache(maxsize=8)
def _resamples(num_examples: int) -> Float[Tensor, "resample example"]:
    """How often each example is drawn in each of `NUM_RESAMPLES` samples of the same size; the same every time."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(num_examples, (NUM_RESAMPLES, num_examples), generator=generator)
    times = torch.zeros(NUM_RESAMPLES, num_examples, dtype=torch.float64)
    return times.scatter_add_(1, drawn, torch.ones_like(times))


@lru_cache(maxsize=100_000)
def wilson_interval(num_correct: int, num_examples: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion; (0, 1) where nothing was counted yet."""
    if num_examples == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest

    interval = binomtest(num_correct, num_examples).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def share(parts: Float[Tensor, "*resample part"]) -> Float[Tensor, "*resample"]:
    """The first sum over the second."""
    return parts[..., 0] / parts[..., 1]


def micro_f1(parts: Float[Tensor, "*resample part"]) -> Float[Tensor, "*resample"]:
    """F1 of all labels counted together, from (tp, fp, fn) of each label in turn; 0 where there is nothing to find."""
    hits, wrong, missed = parts.unflatten(-1, (-1, 3)).sum(-2).unbind(-1)
    total = 2 * hits + wrong + missed
    return 2 * hits / total.clamp(min=1)


def macro_f1(parts: Float[Tensor, "*resample part"]) -> Float[Tensor, "*resample"]:
    """Mean F1 over the labels that occur in texts or answers, from (tp, fp, fn) of each in turn; else 0."""
    hits, wrong, missed = parts.unflatten(-1, (-1, 3)).unbind(-1)
    total = 2 * hits + wrong + missed
    f1 = torch.where(total > 0, 2 * hits / total, torch.nan)
    return f1.nanmean(-1).nan_to_num(0.0)
