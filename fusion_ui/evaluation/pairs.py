"""Every two experts merged: how much is lost or won against each of the two (Jin et al., ICLR 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fusion_ui.evaluation.comparison import CandidateScores
from fusion_ui.evaluation.experiments import Answers, Experiment
from fusion_ui.evaluation.paired import Difference, Judged, metric_difference
from fusion_ui.evaluation.scores import DomainScore, mean_interval, scale_of
from fusion_ui.progress import Progress
from fusion_ui.tasks.scales import Scale

ALONE = 0.3
"""Share of the progress in which the experts are evaluated by themselves, as a rule known already."""


@dataclass(frozen=True)
class PairChange:
    """A pair's merge on some domains, against its two experts.

    Attributes:
        merged: its score on each of the domains.
        alone: the same of the first and of the second expert; None where a domain is of another task than the expert.
        better: on each domain the merge's score minus that of whichever of the two is better *there*, averaged
            over the domains. The better one is told on the same sentences, so luck makes it look a little too good.
        worse: likewise against whichever of the two is worse there.
    """

    merged: tuple[DomainScore, ...]
    alone: tuple[tuple[DomainScore | None, ...], tuple[DomainScore | None, ...]]
    better: Difference
    worse: Difference

    @property
    def mean(self) -> float:
        """The merge's score, every domain counting the same."""
        return sum(score.value for score in self.merged) / len(self.merged)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean."""
        return mean_interval(self.merged)

    @property
    def scale(self) -> Scale:
        """How mean and changes are written."""
        return scale_of(self.merged)

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        about: dict[str, Any] = {"mean": self.mean, "interval": list(self.interval)}
        about |= {"against_better": asdict(self.better), "against_worse": asdict(self.worse)}
        scores = [
            {**asdict(merged), "alone": [first and first.value, second and second.value]}
            for merged, first, second in zip(self.merged, *self.alone, strict=True)
        ]
        return about | {"scores": scores}


@dataclass(frozen=True)
class PairResult:
    """Two experts merged.

    Attributes:
        experts: their names.
        own: on their own domains; None where they have none.
        others: on all other domains; None where there are none.
    """

    experts: tuple[str, str]
    own: PairChange | None
    others: PairChange | None

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        parts = {"own_domains": self.own, "other_domains": self.others}
        return {"experts": list(self.experts)} | {name: part and part.describe() for name, part in parts.items()}


def compare_with_experts(
    merged: Sequence[Judged], experts: Sequence[Sequence[Judged | None]], is_better: bool
) -> Difference:
    """How much better a merge is than, on each domain, the better or the worse of its experts on that domain.

    With a(f, d) the score of f on domain d, merge m of experts i and j, and domains D: the mean over d in D of
    a(m, d) - max(a(i, d), a(j, d)), or - min(...); a score of which
    less is better counts as its negative. The interval is paired, since all answer the same sentences. An
    expert of another task than a domain is left out there.
    """
    choose = max if is_better else min
    chosen = [
        choose((judged for judged in alone if judged is not None), key=lambda judged: judged.merit)
        for alone in zip(*experts, strict=True)
    ]
    return metric_difference(merged, chosen)


def run_pairs(experiment: Experiment, progress: Progress | None = None) -> Iterator[PairResult]:
    """Merge and score one pair of the experiment after the other.

    Raises:
        StoppedError: `progress` was stopped; what was computed is kept.
    """
    progress = progress or Progress()
    alone: dict[str, Answers] = {}
    count = len(experiment.experts)
    for i, (name, expert) in enumerate(experiment.experts.items()):
        part = progress.part(ALONE * i / count, ALONE * (i + 1) / count, f"{name} alone: ")
        alone[name] = experiment.answer(expert, experiment.own_domains([name]), part)
    count = len(experiment.merges)
    for i, (pair, merge) in enumerate(experiment.merges.items()):
        start, end = (ALONE + (1 - ALONE) * k / count for k in (i, i + 1))
        first, second = pair
        own = experiment.own_domains(pair)
        answers = experiment.answer(merge, own, progress.part(start, end, f"{first} + {second}: "))
        others = tuple(score.domain for score in answers.scores.scores if score.domain not in own)
        both = (alone[first], alone[second])
        yield PairResult((first, second), _change(answers, both, own), _change(answers, both, others))


def _change(merged: Answers, alone: tuple[Answers, Answers], domains: tuple[str, ...]) -> PairChange | None:
    # Of domains of other tasks than both experts' there is nothing to say.
    domains = tuple(name for name in domains if any(name in answers.judged for answers in alone))
    if not domains:
        return None

    def judged(answers: Answers) -> list[Judged | None]:
        return [answers.judged.get(name) for name in domains]

    def scores(row: CandidateScores) -> tuple[DomainScore | None, ...]:
        found = {score.domain: score for score in row.scores}
        return tuple(found.get(name) for name in domains)

    ours, both = [merged.judged[name] for name in domains], [*map(judged, alone)]
    better, worse = (compare_with_experts(ours, both, is_better) for is_better in (True, False))
    first, second = (scores(answers.scores) for answers in alone)
    own = tuple(score for score in scores(merged.scores) if score)
    return PairChange(own, (first, second), better, worse)
