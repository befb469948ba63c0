"""Pearson's and Spearman's correlation as metrics: functions of sums over examples, so that both have intervals.

From the sums of 1, x, y, x^2, y^2 and xy over examples with answer x and target y, both counted from their means:

    r = (n Sxy - Sx Sy) / sqrt((n Sxx - Sx^2) (n Syy - Sy^2))

Where all answers, or all targets, are the same number there is no correlation; it is taken as 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.tasks.metrics import Counts, Metric
from fusion_ui.tasks.scales import CORRELATION

_ROUNDING = 1e-12
"""A spread that is this small a share of the numbers' squares is rounding: they are all the same."""


def correlation(parts: Float[Tensor, "*resample part"]) -> Float[Tensor, "*resample"]:
    """Pearson's r from sums of (1, x, y, x^2, y^2, xy)."""
    n, x, y, xx, yy, xy = parts.unbind(-1)
    spread_x, spread_y = n * xx - x.square(), n * yy - y.square()
    is_defined = (spread_x > _ROUNDING * n * xx) & (spread_y > _ROUNDING * n * yy)
    r = (n * xy - x * y) / (spread_x.clamp(min=0) * spread_y.clamp(min=0)).sqrt()
    return torch.where(is_defined, r.clamp(-1, 1), 0.0)


def find_ranks(numbers: Float[Tensor, " example"]) -> Float[Tensor, " example"]:
    """The place of each number among all, from 1; equal numbers share the mean of their places."""
    _, inverse, counts = numbers.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[inverse]


def _count(answers: Tensor, targets: Tensor) -> Counts:
    x, y = answers - answers.mean(), targets - targets.mean()
    return torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y], 1)


def _count_values(rows: Float[Tensor, "example 1"], targets: Sequence[float]) -> Counts:
    return _count(rows[:, 0].double(), torch.tensor(targets, dtype=torch.float64))


def _count_ranks(rows: Float[Tensor, "example 1"], targets: Sequence[float]) -> Counts:
    """Of ranks in the whole set: a resample counts an example by its rank there and is not ranked anew.

    Its interval so says how the correlation of these ranks varies, which for more than a few dozen examples differs
    little from that of new ranks.
    """
    return _count(find_ranks(rows[:, 0].double()), find_ranks(torch.tensor(targets, dtype=torch.float64)))


PEARSON = Metric("pearson", "Pearson", _count_values, correlation, scale=CORRELATION)
SPEARMAN = Metric("spearman", "Spearman", _count_ranks, correlation, scale=CORRELATION)
