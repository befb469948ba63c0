"""The curve over a parameter, on the select split: filled in while nobody waits for anything, and drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from fusion_ui.errors import StatisticError, StoppedError
from fusion_ui.evaluation.candidates import Candidate, Evaluation
from fusion_ui.evaluation.stream import SECOND_CHUNK
from fusion_ui.merging.plan import MergePlan
from fusion_ui.progress import Progress
from fusion_ui.projects.project import Project
from fusion_ui.ui.comparison import Comparison, compare
from fusion_ui.ui.curve_choice import CurveChoice, curve_choices
from fusion_ui.ui.render import render_curve, render_status
from fusion_ui.ui.session import Session
from fusion_ui.workspace import Workspace

REDRAW_SECONDS = 0.25
"""At least, between two drawings: numbers that were known come faster than a browser draws them."""

Drawn = tuple[Any, Any]
"""The figure and the sentence below it; `gr.skip()` for what stays."""


class Curves:
    """Fills and draws the visitors' curves.

    Args:
        evaluation: one split of a project, by a metric.
    """

    def __init__(self, workspace: Workspace, evaluation: Callable[[Project, str, str], Evaluation]) -> None:
        self.workspace, self.evaluation = workspace, evaluation

    def choice(self, session: Session) -> CurveChoice:
        """What the visitor chose, or the first parameter there is where its method is not compared."""
        chosen, choices = session.curve_choice, curve_choices(session.request.methods)
        first = next((c for c in choices if c.key == chosen.key), next(iter(choices), chosen))
        return CurveChoice(first.method, first.parameter, chosen.is_relative)

    def follow(self, session: Session, comparison: Comparison) -> None:
        """Keep of the curve what is still of the comparison's experts, data and other candidates."""
        choice = self.choice(session)
        if choice.method in comparison.plans:
            session.use_curve(family_of(comparison.plans[choice.method], choice, session.request.metric))
        keys = {candidate.name: candidate.key for candidate in comparison.candidates}
        session.curve_levels = {
            name: row
            for name, row in session.curve_levels.items()
            if row.is_of(comparison.evaluation)
            and (keys.get(name) == row.candidate.key or name.startswith("expert "))  # an expert stays as it is
        }

    def show_chosen(self, session: Session) -> None:
        """Follow the visitor's choice at once, so that nothing of another curve is drawn as this one."""
        choice = self.choice(session)
        plan = self.workspace.plan(session.request.recipe(session.project, choice.method))
        session.use_curve(family_of(plan, choice, session.request.metric))

    def fill(self, session: Session) -> Generator[Drawn]:
        """Evaluate one value after the other, then what the curve is compared with."""
        version, request, choice = session.version, session.request, self.choice(session)
        yield gr.skip(), gr.skip()
        if choice.method not in request.methods or session.is_stopped or not session.project.is_complete:
            return
        plan = self.workspace.plan(request.recipe(session.project, choice.method))
        # A newer run measures, and its own curve comes after. What measures while it merges does so at every value.
        if not plan.method.needs_text and not self.workspace.is_measured(plan):
            return
        try:
            with session.filling(version, self.workspace.turns.idle_progress()) as progress:
                progress.check()
                family = family_of(plan, choice, request.metric)
                select = self.evaluation(session.project, "select", request.metric)
                if choice.is_relative:
                    request = replace(request, references=(*request.references, "experts"))
                comparison = compare(self.workspace, session.project, request, select)
                session.use_curve(family)
                self.follow(session, comparison)
                first, later = self._split_levels(comparison, choice)
                yield from self._add_levels(session, comparison, first, progress)
                values = [value for value in choice.values if not _is_done(session, value)]
                sweep = self.workspace.sweep(
                    plan, choice.parameter, values, select, comparison.in_domain, progress, SECOND_CHUNK
                )
                drawn = 0.0
                for value, row in sweep:
                    progress.check()  # rows that were known come without any step that could be stopped
                    session.add_to_curve(family, value, row)
                    if time.perf_counter() - drawn > REDRAW_SECONDS:
                        yield self.draw(session), self.say(session)
                        drawn = time.perf_counter()
                yield self.draw(session), self.say(session)
                yield from self._add_levels(session, comparison, later, progress)
        except StoppedError:
            return
        except StatisticError:  # diagonals alone have no curve; the slider's own value says why
            return
        yield self.draw(session), self.say(session)

    def draw(self, session: Session) -> dict[str, Any]:
        """The figure."""
        session = session.snapshot()
        choice = self.choice(session)
        current = dict(dict(session.request.parameters)[choice.method])[choice.parameter]
        curve = session.curve if choice.method in session.request.methods else {}
        hidden = {setting.name for setting in session.request.settings if setting.method == choice.method}
        if not choice.is_relative and "experts" not in session.request.references:
            hidden |= {name for name in session.curve_levels if name.startswith("expert ")}
        levels = {name: row for name, row in session.curve_levels.items() if name not in hidden}
        return render_curve(session.project, curve, levels, choice, current)

    def say(self, session: Session) -> dict[str, Any]:
        """The best value, or how far the curve is."""
        session = session.snapshot()
        choice, curve = self.choice(session), session.curve
        if choice.method not in session.request.methods:
            return render_status("Compare a method with a setting to see its curve.")
        done, count = sum(_is_done(session, value) for value in choice.values), len(choice.values)
        if done < count:
            looked = f", a first look at {len(curve)}" if len(curve) > done else ""
            return render_status(f"{done} of {count} values of {choice.declared.symbol}{looked}", done / count)
        best = max(choice.values, key=lambda value: curve[value].merit)
        scale, (low, high) = curve[best].scale, curve[best].interval
        sentences = sum(score.num_examples for score in curve[best].scores)
        return render_status(
            f"Best on select: {choice.declared.symbol} = {best:g}, mean {scale.show(curve[best].mean)}",
            None,
            f"{scale.show_interval(low, high)}, {sentences:,} sentences. {self._say_scale(session, choice)}",
        )

    def _say_scale(self, session: Session, choice: CurveChoice) -> str:
        if not choice.is_relative:
            return ""
        own = {expert.domain for expert in session.project.experts if f"expert {expert.name}" in session.curve_levels}
        without = [domain.title for domain in session.project.domains if domain.name not in own]
        return (
            f"No expert's own score to compare with: {', '.join(without)}." if without else "100 %: as its own expert."
        )

    def _split_levels(self, comparison: Comparison, choice: CurveChoice) -> tuple[list[Candidate], list[Candidate]]:
        """What the curve is compared with: what costs nothing or is needed at once, and what can wait."""
        unmeasured = comparison.unmeasured(self.workspace)
        others = [candidate for candidate in _others(comparison, choice) if candidate.name not in unmeasured]
        is_first = {
            c.name: c.is_known(comparison.evaluation) or (choice.is_relative and c.name.startswith("expert "))
            for c in others
        }
        return [c for c in others if is_first[c.name]], [c for c in others if not is_first[c.name]]

    def _add_levels(
        self, session: Session, comparison: Comparison, candidates: list[Candidate], progress: Progress
    ) -> Iterator[Drawn]:
        for candidate in candidates:
            for row in self.workspace.evaluate([candidate], comparison.evaluation, comparison.in_domain, progress):
                progress.check()
                if row.is_complete:
                    session.curve_levels = {**session.curve_levels, candidate.name: row}
                    yield self.draw(session), self.say(session)


def family_of(plan: MergePlan, choice: CurveChoice, metric: str) -> str:
    """What the curve is of: everything but the parameter that it goes over."""
    return f"{choice.key} {metric} {plan.with_parameters(**{choice.parameter: choice.declared.minimum}).key}"


def _others(comparison: Comparison, choice: CurveChoice) -> list[Candidate]:
    """The candidates that are no points of the curve's own method."""
    points = {name for name, plan in comparison.plans.items() if plan.method.name == choice.method}
    return [candidate for candidate in comparison.candidates if candidate.name not in points]


def _is_done(session: Session, value: float) -> bool:
    return value in session.curve and session.curve[value].is_complete
