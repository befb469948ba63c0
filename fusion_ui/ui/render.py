"""A session's numbers as what the page's components take: figures as JSON, the table, the status line."""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd

from fusion_ui.evaluation.scores import metric_of
from fusion_ui.plots.accuracy import accuracy_figure
from fusion_ui.plots.parameter_curve import Level, curve_figure
from fusion_ui.plots.style import Figure
from fusion_ui.projects.project import Project
from fusion_ui.results.curve import curve_table
from fusion_ui.results.table import tidy_table
from fusion_ui.tasks import metric_title
from fusion_ui.ui.comparison import EXPERT_COLOR
from fusion_ui.ui.curve_choice import CurveChoice
from fusion_ui.workspace import CandidateScores

_PLACE = re.compile(r"[^\s'\"]*[\\/]sessions[\\/][0-9]+-[0-9]+[\\/](?:uploads[\\/][0-9a-f]{64}[\\/])?")


def render_accuracy(
    project: Project, shown: dict[str, CandidateScores], stale: frozenset[str], is_from_zero: bool
) -> Figure:
    """The figure of scores by domain. Of the experts' numbers only each one's own domain is drawn."""
    rows = [row for name, row in shown.items() if not name.startswith("expert ")]
    frame = score_table(rows)
    own = [_own_score(project, shown, expert.name, expert.domain) for expert in project.experts]
    about = {"name": "own expert", "title": "own expert", "color": EXPERT_COLOR, "is_reference": True}
    lines = tidy_table([(about, [score for score in own if score is not None])])
    frame = pd.concat([part for part in (lines, frame) if len(part)]) if len(lines) or len(frame) else frame
    return accuracy_figure(frame, domain_titles(project), stale, is_from_zero)


def render_curve(
    project: Project,
    curve: dict[float, CandidateScores],
    levels: dict[str, CandidateScores],
    choice: CurveChoice,
    current: float,
) -> dict[str, Any]:
    """The figure over every value of a parameter, all on the select split.

    Args:
        levels: what does not depend on the parameter, complete; of the experts each one's own domain is drawn.
    """
    found = ((e.domain, _own_score(project, levels, e.name, e.domain)) for e in project.experts)
    own = {domain: score.value for domain, score in found if score}
    about, declared = (lambda row: row.relative_to(own)) if choice.is_relative else (lambda row: row), choice.declared
    rows = [(row.candidate, about(row)) for name, row in levels.items() if not name.startswith("expert ")]
    lines = [Level(candidate.title, candidate.color, row.mean) for candidate, row in rows if row.scores]
    # A mean over some of the experts would be another number, and move with every one that is added.
    is_whole = all(f"expert {expert.name}" in levels for expert in project.experts)
    if own and is_whole and not choice.is_relative:
        lines.append(Level("own experts", EXPERT_COLOR, sum(own.values()) / len(own)))
    frame = curve_table({value: about(row) for value, row in curve.items()})
    span = (declared.minimum, declared.maximum)
    return curve_figure(frame, domain_titles(project), declared.symbol, current, span, lines, choice.is_relative)


def render_numbers(project: Project, shown: dict[str, CandidateScores]) -> pd.DataFrame:
    """The exact numbers: one row a candidate, shares in percent, and how far from the domain's own expert.

    A domain's column says its metric where these differ; else the mean's does, unless it is accuracy.
    """
    metrics = {score.domain: score.metric for row in shown.values() for score in row.scores}
    is_plain, only = len({*metrics.values()}) < 2, next(iter(metrics.values()), "accuracy")
    mean = "Mean" if not is_plain or only == "accuracy" else f"Mean {metric_title(only).lower()}"
    titles = {
        name: title if is_plain or name not in metrics else f"{title}, {metric_title(metrics[name])}"
        for name, title in domain_titles(project).items()
    }
    is_smaller_better = any(score.is_smaller_better for row in shown.values() for score in row.scores)
    gap = "vs own expert, + is better" if is_smaller_better else "vs own expert"
    records = []
    for row in shown.values():
        values = {score.domain: score for score in row.scores}
        own = {e.domain: _own_score(project, shown, e.name, e.domain) for e in project.experts}
        gaps = [values[d].merit - s.merit for d, s in own.items() if s is not None and d in values]
        record: dict[str, Any] = {"Model": row.candidate.title}
        record |= {titles[d]: s.scale.round(s.value) for d, s in values.items()}
        record[mean] = row.scale.round(row.mean)
        record[gap] = row.scale.round(sum(gaps) / len(gaps)) if gaps else math.nan
        record["Sentences"] = sum(score.num_examples for score in row.scores)
        records.append(record)
    columns = ["Model", *titles.values(), mean, gap, "Sentences"]
    return pd.DataFrame.from_records(records, columns=columns)


def render_status(
    message: str, fraction: float | None = None, detail: str = "", is_error: bool = False
) -> dict[str, Any]:
    """The status line beside the slider: what goes on, how far it is, and a second line."""
    return {"message": hide_places(message), "fraction": fraction, "detail": detail, "error": is_error}


def hide_places(sentence: str) -> str:
    """The sentence without the directories in which a visitor's files lie here: they are nobody's business."""
    return _PLACE.sub("", sentence)


def shown_metric(shown: dict[str, CandidateScores]) -> str:
    """What the numbers on the page are."""
    return metric_of(score for row in shown.values() for score in row.scores)


def score_table(rows: list[CandidateScores]) -> pd.DataFrame:
    """The tidy table of some candidates."""
    return tidy_table((describe_candidate(row), row.scores) for row in rows)


def describe_candidate(row: CandidateScores) -> dict[str, Any]:
    """Name, title, colour and kind of a candidate."""
    candidate = row.candidate
    return {
        "name": candidate.name,
        "title": candidate.title,
        "color": candidate.color,
        "is_reference": candidate.is_reference,
    }


def domain_titles(project: Project) -> dict[str, str]:
    """Domain name -> title."""
    return {domain.name: domain.title for domain in project.domains}


def _own_score(project: Project, shown: dict[str, CandidateScores], expert: str, domain: str):
    row = shown.get(f"expert {expert}")
    return next((score for score in row.scores if score.domain == domain), None) if row else None
