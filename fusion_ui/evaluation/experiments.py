"""What experiments with some of the experts share: their merges, and the experts alone, on the same sentences."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fusion_ui.evaluation.candidates import Candidate, Evaluation
from fusion_ui.evaluation.comparison import CandidateScores, score_candidate
from fusion_ui.evaluation.paired import Judged, judge
from fusion_ui.merging.subsets import Names
from fusion_ui.progress import Progress

MERGING = 0.4
"""Share of the work on one merge that is done when its first sentence is answered."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answers to every sentence.

    Attributes:
        judged: domain name -> its sentences in evaluation order, as the domain's metric counts the answers.
    """

    scores: CandidateScores
    judged: Mapping[str, Judged]


@dataclass(frozen=True, eq=False)
class Experiment:
    """Merges of some experts and the experts themselves.

    Attributes:
        merges: names of the experts -> their merge.
        experts: name -> the expert alone.
        domain_of: name -> the expert's own domain. An expert without one is left out, or has an empty name there.
        evaluation: the sentences that all of them answer.
    """

    merges: Mapping[Names, Candidate]
    experts: Mapping[str, Candidate]
    domain_of: Mapping[str, str]
    evaluation: Evaluation

    def own_domains(self, names: Collection[str]) -> tuple[str, ...]:
        """The domains of some experts, each once, in the order of the evaluation."""
        own = {self.domain_of.get(name) for name in names}
        return tuple(d.domain.name for d in self.evaluation.domains if d.domain.name in own)

    def answer(self, candidate: Candidate, in_domain: Collection[str], progress: Progress) -> Answers:
        """Everything that a candidate answers.

        Raises:
            StoppedError: `progress` was stopped; what was computed is kept.
        """
        domains = self.evaluation.domains
        total, logits = sum(map(len, domains)), {}
        for logits in candidate.stream(self.evaluation, progress.part(0, MERGING)):
            done = sum(map(len, logits.values()))
            progress.report(MERGING + (1 - MERGING) * done / total, f"{done:,} of {total:,} sentences")
        return Answers(
            score_candidate(candidate, logits, self.evaluation, in_domain),
            {d.domain.name: judge(d, logits[d.domain.name]) for d in candidate.answered(self.evaluation)},
        )
