"""The report of what a visitor's page shows, all of it of one moment and of the controls as they are then."""

from __future__ import annotations

from fusion_ui.errors import RecipeError
from fusion_ui.evaluation.comparison import CandidateScores
from fusion_ui.merging.plan import MergePlan
from fusion_ui.plots.style import Figure
from fusion_ui.takeaway.reporting import write_report
from fusion_ui.ui.comparison import compare
from fusion_ui.ui.curve import family_of
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.render import domain_titles, render_accuracy, shown_metric
from fusion_ui.ui.session import Session

SPLIT = "report"


def report_page(handlers: Handlers, now: Session, plan: MergePlan, name: str) -> str:
    """The report as HTML.

    Args:
        now: the session at one moment: its settings, and the numbers that are checked to be theirs.
        plan, name: the merge that it is about, and its name among the numbers.

    Raises:
        RecipeError: some numbers are still those of other settings, or not all there.
    """
    rows = _find_rows(handlers, now)
    shown = {row.candidate.name: row for row in rows}
    accuracy = render_accuracy(now.project, shown, frozenset(), now.request.is_from_zero)
    figures = [(f"{shown_metric(shown)} by domain", accuracy), *_draw_curve(handlers, now)]
    return write_report(now.project.title, plan, name, rows, domain_titles(now.project), figures)


def _find_rows(handlers: Handlers, now: Session) -> list[CandidateScores]:
    """The numbers of everything that the controls ask for, as the page shows them."""
    evaluation = handlers.evaluation(now.project, SPLIT, now.request.metric)
    comparison = compare(handlers.workspace, now.project, now.request, evaluation)
    asked = [candidate for candidate in comparison.candidates if candidate.answered(evaluation)]
    rows = [row for candidate in asked if (row := now.shown.get(candidate.name)) and row.candidate.key == candidate.key]
    if len(rows) < len(asked) or not all(row.is_complete and row.is_of(evaluation) for row in rows):
        raise RecipeError(
            "The page does not show all numbers of these settings yet, so there is nothing to report on. "
            "Wait until it says Up to date; where you stopped it, move a control first."
        )
    return rows


def _draw_curve(handlers: Handlers, now: Session) -> list[tuple[str, Figure]]:
    """The curve with its caption, where it is of these settings and has begun."""
    curves = handlers.curves
    choice = curves.choice(now)
    if not now.curve or choice.method not in now.request.methods:
        return []
    plan = handlers.workspace.plan(now.request.recipe(now.project, choice.method))
    if now.curve_family != family_of(plan, choice, now.request.metric):
        return []
    done = sum(value in now.curve and now.curve[value].is_complete for value in choice.values)
    values = "every value" if done == len(choice.values) else f"{done} of {len(choice.values)} values"
    return [(f"{choice.title}, {values}, select split", curves.draw(now))]
