"""A merge beside its experts, and the report of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from fusion_ui.domains.domain import Domain
from fusion_ui.evaluation.comparison import CandidateScores
from fusion_ui.evaluation.guessing import CHANCE, MAJORITY
from fusion_ui.evaluation.references import expert_candidates
from fusion_ui.evaluation.scores import metric_of
from fusion_ui.merging.plan import MergePlan
from fusion_ui.plots.accuracy import accuracy_figure
from fusion_ui.plots.style import Figure
from fusion_ui.progress import Progress
from fusion_ui.results.report import Report, render_report
from fusion_ui.results.table import tidy_table
from fusion_ui.workspace import Workspace


def evaluate_for_report(
    workspace: Workspace, plan: MergePlan, domains: Sequence[Domain], progress: Progress
) -> list[CandidateScores]:
    """Complete scores of a merge and of each of its experts on every domain, and of what needs no model."""
    evaluation, last = workspace.evaluation_of(domains, plan), dict[str, CandidateScores]()
    candidates = [workspace.candidate(plan), *expert_candidates(plan).values()]
    candidates += [guess for guess in (MAJORITY, CHANCE) if guess.answered(evaluation)]
    for row in workspace.evaluate(candidates, evaluation, [e.name for e in plan.experts], progress):
        last[row.candidate.name] = row
    return list(last.values())


def draw_accuracy(rows: Sequence[CandidateScores], domains: Mapping[str, str]) -> tuple[str, Figure]:
    """The figure of scores by domain, with its caption."""
    about = ("name", "title", "color", "is_reference")
    table = tidy_table(({name: getattr(row.candidate, name) for name in about}, row.scores) for row in rows)
    return f"{metric_of(s for row in rows for s in row.scores)} by domain", accuracy_figure(table, dict(domains))


def write_report(
    title: str,
    plan: MergePlan,
    picked: str,
    rows: Sequence[CandidateScores],
    domains: Mapping[str, str],
    figures: Sequence[tuple[str, Figure]],
) -> str:
    """The HTML report of today.

    Args:
        picked: name of the plan's merge among `rows`.
        domains: domain name -> title.
        figures: with their captions.
    """
    return render_report(Report(title, plan, picked, rows, domains, figures, date.today().isoformat()))
