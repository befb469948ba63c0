"""How a merge did on each domain, beside the domain's own expert."""

from __future__ import annotations

from dataclasses import dataclass

from fusion_ui.evaluation.scores import DomainScore


@dataclass(frozen=True)
class DomainNumbers:
    """One domain's row of a model card.

    Attributes:
        title: how people call the domain.
        merge: the merge's score.
        expert: name of the domain's own expert; empty where the merge has none.
        own: that expert's score on the same sentences.
    """

    title: str
    merge: DomainScore
    expert: str = ""
    own: DomainScore | None = None


def format_score(score: DomainScore | None) -> str:
    """With its interval, ``92.7 [90.3, 94.5]``, shares in percent; a dash for none."""
    if score is None:
        return "–"
    return f"{score.scale.write(score.value)} {score.scale.write_interval(score.low, score.high)}"
