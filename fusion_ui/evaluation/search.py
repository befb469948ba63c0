"""The best value of a parameter, with most sentences spent where they decide.

All values answer the same few sentences first. A value that can hardly win any more is dropped, and the others go on
to twice as many, until the last have answered all. Bad values so cost a fraction of a full sweep; close ones cost the
same, as they must.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fusion_ui.errors import DomainError
from fusion_ui.evaluation.candidates import Candidate, Evaluation
from fusion_ui.evaluation.comparison import CandidateScores, score_candidate
from fusion_ui.evaluation.paired import Difference, Judged, judge, metric_difference, paired_difference
from fusion_ui.evaluation.stream import SECOND_CHUNK, Logits
from fusion_ui.progress import Progress

RISK = 0.05
"""Chance, at most, that the value with the best score on all sentences was dropped before they were answered."""


@dataclass(frozen=True)
class SearchRow:
    """What is known of one value.

    Attributes:
        scores: on the sentences answered so far; of a dropped value it stays at that.
        is_dropped: it could hardly win any more.
        behind: how far it lies behind the best value, on the sentences that both answered, with a 95 % interval for
            text of such domains; None while the search runs.
    """

    value: float
    scores: CandidateScores
    is_dropped: bool = False
    behind: Difference | None = None

    @property
    def num_answers(self) -> int:
        """Sentences it answered, over all domains."""
        return sum(score.num_examples for score in self.scores.scores)


@dataclass(frozen=True)
class SearchOutcome:
    """The best value and how sure that is.

    Attributes:
        best: the value with the best mean over all sentences; of several the first that was given.
        rows: every value, in ascending order.
        num_answers, num_answers_full: logits that the search looked at, and that a sweep of every value looks at.
    """

    best: float
    rows: tuple[SearchRow, ...]
    num_answers: int
    num_answers_full: int

    @property
    def top(self) -> SearchRow:
        """The best value's row."""
        return next(row for row in self.rows if row.value == self.best)

    @property
    def close(self) -> tuple[float, ...]:
        """The values that are not clearly worse than the best, itself included."""
        return tuple(row.value for row in self.rows if row.behind is None or row.behind.low <= 0)

    @property
    def sentence(self) -> str:
        """For people: "no clear difference from 0.85 to 0.95"."""
        runs: list[list[float]] = []
        is_open = False
        for row in self.rows:
            if row.value not in self.close:
                is_open = False
            elif is_open:
                runs[-1].append(row.value)
            else:
                runs.append([row.value])
                is_open = True
        if len(self.close) == 1:
            return "clearly better than every other value tried" if len(self.rows) > 1 else "the only value tried"
        parts = [f"{run[0]:g}" if len(run) == 1 else f"from {run[0]:g} to {run[-1]:g}" for run in runs]
        return "no clear difference " + (parts[0] if len(parts) == 1 else f"between {', '.join(parts)}")


@dataclass(frozen=True)
class BestValue:
    """A parameter's best value on one part of the data, and its score on another, which had no say.

    Attributes:
        name: the parameter.
        outcome: of the search.
        report: scores on the data kept back; None where none was given.
    """

    name: str
    outcome: SearchOutcome
    report: CandidateScores | None

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        outcome = self.outcome
        points = [
            {
                self.name: row.value,
                **row.scores.describe(),
                "is_dropped": row.is_dropped,
                "behind": row.behind and asdict(row.behind),
            }
            for row in outcome.rows
        ]
        return {
            "best": {self.name: outcome.best, **outcome.top.scores.describe()},
            "close": list(outcome.close),
            "sentence": outcome.sentence,
            "num_answers": outcome.num_answers,
            "num_answers_full": outcome.num_answers_full,
            "points": points,
            "report": self.report and self.report.describe(),
        }


def check_apart(select: Evaluation, report: Evaluation | None) -> None:
    """Raise `DomainError` where a domain of `report` is one that a value is chosen on."""
    chosen_on = {encoded.domain.fingerprint: encoded.domain.name for encoded in select.domains}
    for encoded in report.domains if report else ():
        if (name := chosen_on.get(encoded.domain.fingerprint)) is not None:
            raise DomainError(
                f"The sentences given to report on {encoded.domain.name} are those of {name}, on which the value is "
                "chosen: its score there would be too good. Give other sentences, or report on none."
            )


def look_ends(num_examples: int) -> list[int]:
    """Sentences of each domain that are answered when values are compared: 50, then twice as many each time."""
    ends = [SECOND_CHUNK]
    while ends[-1] < num_examples:
        ends.append(2 * ends[-1])
    return [*ends[:-1], num_examples]


def search_best(
    candidates: Mapping[float, Candidate],
    evaluation: Evaluation,
    in_domain: Collection[str],
    progress: Progress | None = None,
    risk: float = RISK,
) -> Generator[SearchRow, None, SearchOutcome]:
    """Yield a row whenever a value has answered more sentences or is dropped; return the outcome.

    The same candidates and sentences give the same outcome, whatever was computed before. Values are dropped where
    every metric is the share of right answers; of others it is not known how far a few sentences lead astray.

    Args:
        candidates: value -> the merge at that value.
        evaluation: the domains to choose on. Whatever is reported must be measured on others.
        risk: chance of a mistake as in `RISK`; 0 drops nothing, so that the outcome is a full sweep's.

    Raises:
        StoppedError: `progress` was stopped; what was computed is kept.
    """
    progress = progress or Progress()
    totals = [len(domain) for domain in next(iter(candidates.values())).answered(evaluation)]
    ends = look_ends(max(totals))
    # One miss in any comparison of the winner with another value, at any look but the last, would drop it.
    miss = risk / max(1, (len(candidates) - 1) * (len(ends) - 1))
    rows: dict[float, SearchRow] = {}
    judged: dict[float, list[Judged]] = {}
    alive, best = list(candidates), next(iter(candidates))
    for end in ends:
        for i, value in enumerate(alive):
            done = sum(row.num_answers for row in rows.values())
            missing = sum(sum(totals) - (rows[v].num_answers if v in rows else 0) for v in alive)
            part = done / (done + missing)
            count = min(end, max(totals))
            progress.report(part, f"{value:g}: {count} sentences of each domain, value {i + 1} of {len(alive)}")
            logits = _answer(candidates[value], evaluation, end, progress.part(part, part))
            judged[value] = [judge(d, logits[d.domain.name]) for d in candidates[value].answered(evaluation)]
            rows[value] = SearchRow(value, score_candidate(candidates[value], logits, evaluation, in_domain))
            yield rows[value]
        best = max(alive, key=lambda value: rows[value].scores.merit)
        right = {value: tuple(one.right for one in judged[value] if one.right is not None) for value in alive}
        if end < ends[-1] and all(len(right[value]) == len(judged[value]) for value in alive):
            for value in [value for value in alive if value != best]:
                if paired_difference(right[best], right[value], miss, totals).low > 0:
                    alive.remove(value)
                    rows[value] = replace(rows[value], is_dropped=True)
                    yield rows[value]
    final = [
        rows[value] if value == best else replace(rows[value], behind=metric_difference(judged[best], judged[value]))
        for value in sorted(rows)
    ]
    return SearchOutcome(best, tuple(final), sum(row.num_answers for row in final), len(candidates) * sum(totals))


def _answer(candidate: Candidate, evaluation: Evaluation, end: int, progress: Progress) -> Logits:
    """Logits of the first `end` examples of every domain, and of no more, even where more are known."""
    return {name: rows[:end] for name, rows in candidate.answer(evaluation, end, progress).items()}
