"""Flips and confusion as what the page's tables and status lines take: texts, drawn as nothing but text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusion_ui.evaluation.confusion import Confusion
from fusion_ui.evaluation.flips import DomainFlips, Flip, FlipKind, FlipReport
from fusion_ui.evaluation.paired import Difference
from fusion_ui.tasks.task import Answer
from fusion_ui.ui.render import render_status

KIND_TITLES: dict[FlipKind, str] = {
    FlipKind.FIXED: "✓ fixed",
    FlipKind.BROKEN: "✗ broken",
    FlipKind.BOTH_WRONG: "≠ both wrong",
}
"""How the page calls them."""


def render_flips_sentence(report: FlipReport, model: str, other: str) -> dict[str, Any]:
    """How many sentences flip, and what that does to the share of right answers."""
    num_flips = sum(domain.num_flips for domain in report.domains)
    split, clear = report.domains[0].split, report.difference.low > 0 or report.difference.high < 0
    sentence = f"{model} against {other}: {num_flips:,} of {report.num_examples:,} sentences ({split}) flip."
    detail = f"Right answers {_points(report.difference)}, 95 % paired interval"
    return render_status(sentence, None, f"{detail}{'' if clear else ': no clear difference'}.")


def render_counts(report: FlipReport) -> dict[str, Any]:
    """One row a domain: how many flips of each kind, and the difference in right answers."""
    headers = ["Domain", "Sentences", *KIND_TITLES.values(), "Right answers, points [95 %]"]
    return {"headers": headers, "rows": [_count_row(domain) for domain in report.domains]}


def _count_row(counted: DomainFlips) -> list[str]:
    counts = (counted.num_examples, counted.num_fixed, counted.num_broken, counted.num_both_wrong)
    return [counted.title, *(f"{count:,}" for count in counts), _points(counted.difference)]


def render_flips(flips: Sequence[Flip], titles: Mapping[str, str], model: str, other: str) -> dict[str, Any]:
    """One row a flip; the second sentence of a pair on a line of its own."""
    rows = [
        [
            titles[flip.domain],
            flip.text if flip.pair is None else f"{flip.text}\n{flip.pair}",
            flip.label,
            _say(flip.answer),
            _say(flip.other),
            KIND_TITLES[flip.kind],
        ]
        for flip in flips
    ]
    return {"headers": ["Domain", "Sentence", "Label", model, other, "Kind"] if rows else [], "rows": rows}


def render_confusion_sentence(confusion: Confusion, model: str) -> dict[str, Any]:
    """Whose confusion it is, on what, and the accuracy."""
    low, high = confusion.interval
    accuracy = f"accuracy {confusion.num_correct / confusion.num_examples:.1%} [{low:.1%}, {high:.1%}]"
    about = f"{confusion.title}, {confusion.num_examples:,} sentences ({confusion.split})"
    return render_status(f"{model} on {about}: {accuracy}.")


def _say(answer: Answer) -> str:
    return answer.label if answer.sureness is None else f"{answer.label} {answer.sureness:.0%}"


def _points(difference: Difference) -> str:
    value, low, high = (f"{100 * part:+.1f}" for part in (difference.value, difference.low, difference.high))
    return f"{value} [{low}, {high}]".replace("-", "−")
