"""A score that says what it is: metric, split, number of examples, interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from jaxtyping import Float
from torch import Tensor

from fusion_ui.evaluation.stream import EncodedDomain
from fusion_ui.tasks import METRICS, metric_scale, metric_title
from fusion_ui.tasks.scales import PERCENT, SEVERAL, Scale


class Role(StrEnum):
    """What a domain is to a merge."""

    IN_DOMAIN = "in-domain"
    OUT_OF_DOMAIN = "out-of-domain"


@dataclass(frozen=True)
class DomainScore:
    """Score of one model on one domain.

    Attributes:
        domain, split: what it was measured on.
        role: in-domain if an expert of that domain is in the merge.
        value: of the metric, such as the share of examples answered as the human label says.
        num_correct: examples answered just as they should be; None where no answer is right or wrong.
        num_examples: all that were answered.
        num_total: examples in the split; smaller `num_examples` means that the evaluation is still running.
        low, high: 95 % interval.
        metric: its name.
        is_smaller_better: as of perplexity.
    """

    domain: str
    split: str
    role: Role
    value: float
    num_correct: int | None
    num_examples: int
    num_total: int
    low: float
    high: float
    metric: str = "accuracy"
    is_smaller_better: bool = False

    @property
    def scale(self) -> Scale:
        """How the value is written."""
        return metric_scale(self.metric)

    @property
    def merit(self) -> float:
        """The value, such that more is better."""
        return -self.value if self.is_smaller_better else self.value


def score_rows(encoded: EncodedDomain, rows: Float[Tensor, "_ ..."], role: Role) -> DomainScore:
    """Score the first examples of a domain, as many as there are rows."""
    found = encoded.metric.score(rows, encoded.targets[: len(rows)])
    num_correct, about = None, encoded.domain
    if encoded.task.has_right_answers:
        num_correct = int(encoded.find_right(rows).sum()) if len(rows) else 0
    values = found.value, num_correct, len(rows), len(encoded), found.low, found.high, encoded.metric.name
    return DomainScore(about.name, about.split, role, *values, encoded.metric.is_smaller_better)


def metric_of(scores: Iterable[DomainScore]) -> str:
    """What some scores are, for people: their metric's title, or "Score" where they differ in it."""
    titles = {metric_title(score.metric) for score in scores}
    return titles.pop() if len(titles) == 1 else "Score"


def scale_of(scores: Iterable[DomainScore]) -> Scale:
    """How some scores, and their mean, are written together."""
    return metric_scale(*(score.metric for score in scores))


def describe_unit(scores: Iterable[DomainScore]) -> str:
    """What some scores are and in which unit, for people: "Accuracy in percent"."""
    found = tuple(scores)
    scale, name = scale_of(found), metric_of(found)
    return f"{name} in percent" if scale == PERCENT else f"{name}, shares in percent" if scale == SEVERAL else name


def intervals_of(scores: Iterable[DomainScore]) -> str:
    """How the intervals of some scores were made, for people."""
    kinds = {
        "Wilson " if score.metric in METRICS and METRICS[score.metric].is_share else "bootstrap " for score in scores
    }
    return f"95 % {kinds.pop() if len(kinds) == 1 else ''}intervals"


def mean_interval(scores: Sequence[DomainScore]) -> tuple[float, float]:
    """95 % interval of the mean of independent scores, from their own intervals (Zou and Donner, 2008)."""
    count, mean = len(scores), sum(score.value for score in scores) / len(scores)
    below = math.sqrt(sum((score.value - score.low) ** 2 for score in scores)) / count
    above = math.sqrt(sum((score.high - score.value) ** 2 for score in scores)) / count
    return mean - below, mean + above
