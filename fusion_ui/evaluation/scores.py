"""A score that says what it is: metric, split, number of examples, interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Role(StrEnum):
    """What a domain is to a merge."""

    IN_DOMAIN = "in-domain"
    OUT_OF_DOMAIN = "out-of-domain"


@dataclass(frozen=True)
class DomainScore:
    """Accuracy of one model on one domain.

    Attributes:
        domain, split: what it was measured on.
        role: in-domain if an expert of that domain is in the merge.
        value: share of examples answered as the human label says.
        num_correct, num_examples: the counts behind it.
        num_total: examples in the split; smaller `num_examples` means that the evaluation is still running.
        low, high: 95 % Wilson interval.
    """

    domain: str
    split: str
    role: Role
    value: float
    num_correct: int
    num_examples: int
    num_total: int
    low: float
    high: float
    metric: str = "accuracy"


def score_logits(
    logits: Float[Tensor, "example label"], labels: tuple[int, ...], domain: str, split: str, role: Role
) -> DomainScore:
    """Score the first `len(logits)` examples of a domain whose label positions are `labels`."""
    num_correct, num_examples = int(find_right(logits, labels).sum()), len(logits)
    low, high = wilson_interval(num_correct, num_examples)
    value = num_correct / num_examples if num_examples else float("nan")
    return DomainScore(domain, split, role, value, num_correct, num_examples, len(labels), low, high)


def find_right(logits: Float[Tensor, "example label"], labels: tuple[int, ...]) -> Bool[Tensor, " example"]:
    """Which of a domain's first `len(logits)` examples are answered as their label says."""
    return find_answers(logits) == torch.tensor(labels[: len(logits)])


def find_answers(logits: Float[Tensor, "example label"]) -> Int[Tensor, " example"]:
    """Position of the label that each example is answered with; NaN stands for a label that the model does not know."""
    return logits.nan_to_num(nan=-torch.inf).argmax(-1)


def find_probabilities(logits: Float[Tensor, "example label"]) -> Float[Tensor, "example label"]:
    """Probability of every label, by softmax over the labels that the model knows; NaN for the others."""
    is_unknown = logits.isnan()
    return logits.masked_fill(is_unknown, -torch.inf).softmax(-1).masked_fill(is_unknown, torch.nan)


def mean_interval(scores: Sequence[DomainScore]) -> tuple[float, float]:
    """95 % interval of the mean of independent scores, from their own intervals (Zou and Donner, 2008)."""
    count, mean = len(scores), sum(score.value for score in scores) / len(scores)
    below = math.sqrt(sum((score.value - score.low) ** 2 for score in scores)) / count
    above = math.sqrt(sum((score.high - score.value) ** 2 for score in scores)) / count
    return mean - below, mean + above


@lru_cache(maxsize=100_000)
def wilson_interval(num_correct: int, num_examples: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion; (0, 1) where nothing was counted yet."""
    if num_examples == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest

    interval = binomtest(num_correct, num_examples).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
