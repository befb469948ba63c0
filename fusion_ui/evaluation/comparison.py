"""Scores of one candidate on every domain, and of several candidates that move together."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from fusion_ui.evaluation.candidates import Candidate, Evaluation
from fusion_ui.evaluation.scores import DomainScore, mean_interval, scale_of
from fusion_ui.progress import Progress
from fusion_ui.tasks.scales import Scale

SHARE_OF_OWN = "share of the own expert's score"
"""Stands for the metric of a score that was divided by another."""


@dataclass(frozen=True)
class CandidateScores:
    """Scores of one candidate on every domain, so far."""

    candidate: Candidate
    scores: tuple[DomainScore, ...]

    @property
    def is_complete(self) -> bool:
        """True once every example of every domain was counted."""
        return all(score.num_examples == score.num_total for score in self.scores)

    @property
    def mean(self) -> float:
        """Mean of the scores, every domain counting the same; NaN where there are none."""
        if not self.scores:
            return math.nan
        return sum(score.value for score in self.scores) / len(self.scores)

    @property
    def merit(self) -> float:
        """What is as large as possible for the best of several: the mean, scores of which less is better taken off."""
        return sum(score.merit for score in self.scores) / len(self.scores)

    @property
    def scale(self) -> Scale:
        """How the mean is written; a score has its own."""
        return scale_of(self.scores)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean."""
        return mean_interval(self.scores) if self.scores else (math.nan, math.nan)

    def is_of(self, evaluation: Evaluation) -> bool:
        """True if the scores are of the metrics by which an evaluation scores its domains."""
        metrics = {encoded.domain.name: encoded.metric.name for encoded in evaluation.domains}
        return all(metrics.get(score.domain) == score.metric for score in self.scores)

    def relative_to(self, own: Mapping[str, float]) -> CandidateScores:
        """As shares of what others score, taken as exact: 1 is as good, and more is better, also where a smaller score
        is better. Domains that `own` does not name are left out, and those where it is not above 0, such as a
        correlation the wrong way round: no share of it means anything.

        Args:
            own: domain name -> score, such as that of the domain's own expert.
        """
        known = [(score, own[score.domain]) for score in self.scores if own.get(score.domain, 0.0) > 0]
        return replace(self, scores=tuple(_divide(score, by) for score, by in known))

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        scores = [asdict(score) for score in self.scores]
        return {"mean": self.mean, "interval": list(self.interval), "scores": scores}


def _divide(score: DomainScore, by: float) -> DomainScore:
    ends = [score.value / by, score.low / by, score.high / by]
    if score.is_smaller_better:
        ends = [1 / ends[0], 1 / ends[2], 1 / ends[1]]
    value, low, high = ends
    return replace(score, value=value, low=low, high=high, metric=SHARE_OF_OWN, is_smaller_better=False)


def score_candidate(
    candidate: Candidate, logits: Mapping[str, Tensor], evaluation: Evaluation, in_domain: Collection[str]
) -> CandidateScores:
    """Score the examples that there are logits of.

    Args:
        logits: domain name -> logits of its first examples.
        in_domain: names of the domains that have an expert in the merge.
    """
    return CandidateScores(
        candidate,
        tuple(
            candidate.score(d, logits[d.domain.name], d.domain.name in in_domain)
            for d in candidate.answered(evaluation)
        ),
    )


def compare(
    candidates: Sequence[Candidate], evaluation: Evaluation, in_domain: Collection[str], progress: Progress
) -> Iterator[CandidateScores]:
    """Scores of every candidate, chunk by chunk and in turn.

    Raises:
        StoppedError: `progress` was stopped; what was computed is kept.
    """
    running = [(candidate, candidate.stream(evaluation, progress)) for candidate in candidates]
    while running:
        still: list = []
        for candidate, stream in running:
            logits = next(stream, None)
            if logits is not None:
                still.append((candidate, stream))
                yield score_candidate(candidate, logits, evaluation, in_domain)
        running = still
