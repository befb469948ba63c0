"""Two models' answers to the same sentences: the difference and its interval, by hand and by counting."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from test_evaluation import encoded_as

from fusion_ui.evaluation.paired import Right, paired_difference
from fusion_ui.evaluation.scores import DomainScore, Role, mean_interval, score_rows


def as_right(*domains: list[int]) -> Right:
    return tuple(torch.tensor(domain, dtype=torch.bool) for domain in domains)


def test_a_paired_difference_by_hand():
    # One domain of ten: the first alone is right on three, the second alone on one.
    first, second = as_right([1] * 8 + [0] * 2), as_right([0] * 3 + [1] * 6 + [0])
    found = paired_difference(first, second)
    assert found.value == pytest.approx(0.2)
    # Bonett and Price: (3 + 1 - 1 - 1) / 12 with the variance (4/12 + 2/12 - (2/12)^2) / 12.
    half = 1.959964 * math.sqrt((6 / 12 - (2 / 12) ** 2) / 12)
    assert (found.low, found.high) == pytest.approx((2 / 12 - half, 2 / 12 + half))
    # A second domain on which both agree halves the mean; only what both answered counts.
    both = paired_difference((*first, *as_right([1] * 20)), (*second, *as_right([1] * 5)))
    assert both.value == pytest.approx(0.1)
    second_variance = (2 / 7) / 7
    half = 1.959964 * math.sqrt((6 / 12 - (2 / 12) ** 2) / 12 + second_variance) / 2
    assert (both.low, both.high) == pytest.approx((1 / 12 - half, 1 / 12 + half))
    turned = paired_difference(second, first)
    assert (turned.value, turned.low, turned.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_of_a_domain_answered_whole_nothing_is_left_to_learn():
    first, second = as_right([1] * 8 + [0] * 2), as_right([0] * 3 + [1] * 6 + [0])
    whole = paired_difference(first, second, 1e-6, [10])
    assert whole.low == whole.high == pytest.approx(2 / 12)
    half, open_ended = (paired_difference(first, second, 0.025, totals) for totals in ([20], None))
    assert open_ended.high - open_ended.low == pytest.approx(math.sqrt(2) * (half.high - half.low))
    never = paired_difference(first, second, 0.0, [20])
    assert (never.low, never.high) == (-math.inf, math.inf)


@pytest.mark.parametrize(("p", "q", "count"), [(0.03, 0.01, 100), (0.1, 0.1, 40), (0.004, 0.0, 200)])
def test_paired_intervals_hold_the_truth_as_often_as_they_say(p: float, q: float, count: int):
    generator, num_held = np.random.default_rng(7), 0
    for _ in range(400):
        u = generator.uniform(size=(2, count))  # two domains
        first, second = (tuple(torch.tensor(x) for x in found) for found in (u < 0.5 + p, (u < 0.5) | (u > 1 - q)))
        found = paired_difference(first, second)
        num_held += found.low <= p - q <= found.high
    assert num_held >= 0.935 * 400


def test_the_interval_of_a_mean_is_that_of_its_scores():
    def score(value: float, low: float, high: float) -> DomainScore:
        return DomainScore("d", "select", Role.IN_DOMAIN, value, 1, 2, 2, low, high)

    assert mean_interval([score(0.8, 0.7, 0.85)]) == pytest.approx((0.7, 0.85))
    low, high = mean_interval([score(0.8, 0.7, 0.85), score(0.6, 0.5, 0.7)])
    assert low == pytest.approx(0.7 - math.hypot(0.1, 0.1) / 2) and high == pytest.approx(
        0.7 + math.hypot(0.05, 0.1) / 2
    )
    generator, num_held = np.random.default_rng(8), 0
    encoded = encoded_as((0,) * 100)
    for _ in range(300):
        logits = [torch.tensor(np.stack([generator.uniform(size=100) < p, np.full(100, 0.5)], 1)) for p in (0.9, 0.7)]
        scores = [score_rows(encoded, found.float(), Role.IN_DOMAIN) for found in logits]
        low, high = mean_interval(scores)
        num_held += low <= 0.8 <= high
    assert num_held >= 0.93 * 300
