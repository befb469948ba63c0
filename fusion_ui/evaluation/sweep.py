"""Scores at every value of a parameter: rough ones everywhere before exact ones anywhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack

from fusion_ui.evaluation.candidates import Candidate, Evaluation
from fusion_ui.evaluation.comparison import CandidateScores, score_candidate
from fusion_ui.progress import Progress


def sweep_values(
    candidates: Mapping[float, Candidate],
    evaluation: Evaluation,
    in_domain: Collection[str],
    progress: Progress,
    sharing: AbstractContextManager[None],
    first: int | None = None,
) -> Iterator[tuple[float, CandidateScores]]:
    """Scores of the candidates in their order, those whose every answer is known at once.

    Args:
        candidates: value -> the merge at that value.
        sharing: inside, what the candidates share is done. It is entered once; with `first` only when a second value
            is to be answered, since a single one is there sooner without it.
        first: so many sentences of each domain are answered at every value before any value answers all, and the
            scores on them are yielded too; None for complete scores alone.

    Raises:
        StoppedError: `progress` was stopped; what was computed is kept.
    """
    longest, left = max(map(len, evaluation.domains)), dict(candidates)
    ends = (longest,) if first is None else (min(first, longest), longest)
    unknown = [value for value, candidate in candidates.items() if not candidate.is_known(evaluation)]
    waiting = unknown if first is None else unknown[1:]
    with ExitStack() as stack:
        for end in ends:
            for value, candidate in list(left.items()):
                if value in waiting:
                    stack.enter_context(sharing)
                    waiting = []
                scores = score_candidate(candidate, candidate.answer(evaluation, end, progress), evaluation, in_domain)
                if scores.is_complete:
                    left.pop(value)
                yield value, scores
