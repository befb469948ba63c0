"""Scores at every value of a parameter: rough ones everywhere before exact ones anywhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from fusion_ui.evaluation.candidates import Candidate, Evaluation
from fusion_ui.evaluation.comparison import CandidateScores, score_candidate
from fusion_ui.progress import Progress


def sweep_values(
    candidates: Mapping[float, Candidate],
    evaluation: Evaluation,
    in_domain: Collection[str],
    progress: Progress,
    first: int | None = None,
) -> Iterator[tuple[float, CandidateScores]]:
    """Scores of the candidates in their order, those whose every answer is known at once.

    Args:
        candidates: value -> the merge at that value.
        first: so many sentences of each domain are answered at every value before any value answers all, and the
            scores on them are yielded too; None for complete scores alone.

    Raises:
        StoppedError: `progress` was stopped; what was computed is kept.
    """
    longest, left = max(map(len, evaluation.domains)), dict(candidates)
    for end in (longest,) if first is None else (min(first, longest), longest):
        for value, candidate in list(left.items()):
            scores = score_candidate(candidate, candidate.answer(evaluation, end, progress), evaluation, in_domain)
            if scores.is_complete:
                left.pop(value)
            yield value, scores
