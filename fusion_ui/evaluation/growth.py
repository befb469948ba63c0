"""Experts added one by one, each time merged from scratch (Jin et al., ICLR 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from fusion_ui.evaluation.combined import ensemble_of
from fusion_ui.evaluation.comparison import CandidateScores
from fusion_ui.evaluation.experiments import Experiment
from fusion_ui.evaluation.scores import DomainScore, Role
from fusion_ui.merging.subsets import Names
from fusion_ui.progress import Progress

ALONE = 0.15
"""Share of the progress in which the experts are evaluated on their own domains, as a rule known already."""


@dataclass(frozen=True)
class GrowthPoint:
    """The merge of the first few experts.

    Attributes:
        experts: their names, in the order in which they were added.
        scores: on every domain; in-domain are those of the experts added so far.
        ensemble: the mean of the same experts' logits, where it was asked for.
        own: every domain's own expert on it, whether or not it was added yet.
        domains: names of all domains; those of tasks of which no expert was added yet have no score.
    """

    experts: Names
    scores: CandidateScores
    ensemble: CandidateScores | None
    own: tuple[DomainScore, ...]
    domains: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "experts": list(self.experts),
            "in_domain": _describe_mean(self.scores),
            **self.scores.describe(),
            "ensemble": self.ensemble and {"in_domain": _describe_mean(self.ensemble), **self.ensemble.describe()},
            "own_experts": [asdict(score) for score in self.own],
        }


def keep_in_domain(row: CandidateScores) -> CandidateScores | None:
    """The scores on the domains of the experts added so far; None where they have none."""
    kept = tuple(score for score in row.scores if score.role == Role.IN_DOMAIN)
    return CandidateScores(row.candidate, kept) if kept else None


def run_growth(
    experiment: Experiment, progress: Progress | None = None, has_ensemble: bool = False
) -> Iterator[GrowthPoint]:
    """Merge and score one set of experts of the experiment after the other.

    Raises:
        StoppedError: `progress` was stopped; what was computed is kept.
    """
    progress = progress or Progress()
    own = _score_own(experiment, progress.part(0, ALONE))
    domains = tuple(encoded.domain.name for encoded in experiment.evaluation.domains)
    count = len(experiment.merges)
    for i, (names, merge) in enumerate(experiment.merges.items()):
        start, end = (ALONE + (1 - ALONE) * k / count for k in (i, i + 1))
        part = progress.part(start, end, f"{len(names)} of {len(experiment.experts)} experts: ")
        in_domain = experiment.own_domains(names)
        scores = experiment.answer(merge, in_domain, part.part(0, 0.5 if has_ensemble else 1)).scores
        ensemble = None
        if has_ensemble:
            together = ensemble_of([experiment.experts[name] for name in names])
            ensemble = experiment.answer(together, in_domain, part.part(0.5, 1, "ensemble, ")).scores
        yield GrowthPoint(names, scores, ensemble, own, domains)


def _score_own(experiment: Experiment, progress: Progress) -> tuple[DomainScore, ...]:
    """The first expert of every domain on it, and on nothing else."""
    owner, found = dict[str, str](), list[DomainScore]()
    for name in experiment.experts:
        owner.setdefault(experiment.domain_of.get(name, ""), name)
    for i, encoded in enumerate(experiment.evaluation.domains):
        if (name := owner.get(encoded.domain.name)) is not None:
            alone = replace(experiment, evaluation=replace(experiment.evaluation, domains=(encoded,)))
            share = 1 / len(experiment.evaluation.domains)
            part = progress.part(i * share, (i + 1) * share, f"{name} alone: ")
            found += alone.answer(experiment.experts[name], [encoded.domain.name], part).scores.scores
    return tuple(found)


def _describe_mean(row: CandidateScores) -> dict[str, Any] | None:
    kept = keep_in_domain(row)
    return kept and {"mean": kept.mean, "interval": list(kept.interval)}
