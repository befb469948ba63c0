"""What happens beside the curve: another parameter is chosen, or its best value sought."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from fusion_ui.errors import RecipeError
from fusion_ui.evaluation.search import RISK, BestValue
from fusion_ui.progress import Progress
from fusion_ui.ui.curve_choice import CurveChoice, curve_choices
from fusion_ui.ui.handlers import as_message
from fusion_ui.ui.long_work import LongWork, on_status_line
from fusion_ui.ui.panels.curve import CurvePanel, parameter_choices
from fusion_ui.ui.render import render_status
from fusion_ui.ui.request import FuseRequest

Key = tuple[str, str]
"""A method and one of its parameters."""


class Searching(LongWork):
    """Handlers of the curve's controls."""

    def choose(self, session_id: str | None, parameter: str, is_relative: bool) -> list[Any]:
        """Let the curve go over another parameter, or on another scale; the figure and its sentence."""
        session, curves = self.handlers.sessions.get(session_id), self.handlers.curves
        known = {choice.key: choice for choice in curve_choices(session.request.methods)}
        if (chosen := known.get(parameter) if isinstance(parameter, str) else None) is None:
            raise RecipeError(f"No method that is compared has the parameter {str(parameter)[:40]!r}.")
        session.curve_choice = replace(chosen, is_relative=is_relative is True)
        curves.show_chosen(session)
        return [curves.draw(session), curves.say(session)]

    def find_best(self, session_id: str | None) -> Iterator[tuple[Any, Key | None, float | None]]:
        """Status while the best value is sought; at the end a sentence, the parameter and the value it then has."""
        session = self.find_session(session_id)
        choice = self.handlers.curves.choice(session)
        if choice.method not in session.request.methods:
            raise RecipeError("Compare a method with a setting first.")
        plan = self.plan_of(session, choice.method)
        select, report = (
            self.handlers.evaluation(session.project, split, session.request.metric) for split in ("select", "report")
        )

        def work(progress: Progress) -> BestValue:
            values, in_domain = sorted(choice.values), self.in_domain_of(session)
            # Where a GPU answered for every value, none was dropped early.
            risk = 0.0 if self.workspace.settings.borrows_gpu else RISK
            search = self.workspace.find_best(plan, choice.parameter, values, select, in_domain, report, progress, risk)
            while True:
                try:
                    next(search)
                except StopIteration as end:
                    return end.value

        first = partial(self.handlers.rehearsals.hold_search, session.project, session.request, choice)
        for status, found in self.follow(session, self.after(first, work)):
            if status:
                yield status, None, None
                continue
            best = found.outcome.best
            session.post(_with_parameter(session.request, choice, best))
            yield _say_best(found, choice), (choice.method, choice.parameter), best


def _with_parameter(request: FuseRequest, choice: CurveChoice, value: float) -> FuseRequest:
    values = {method: dict(parameters) for method, parameters in request.parameters}
    values[choice.method][choice.parameter] = value
    return replace(request, parameters=tuple((method, tuple(found.items())) for method, found in values.items()))


def _say_best(found: BestValue, choice: CurveChoice) -> dict[str, Any]:
    outcome, scores = found.outcome, found.report
    assert scores is not None  # a report split was given
    low, high = scores.interval
    spared = 1 - outcome.num_answers / outcome.num_answers_full
    sentence = f"{choice.title} = {outcome.best:g} on select; {outcome.sentence}"
    detail = f"On report: mean {scores.scale.show(scores.mean)} {scores.scale.show_interval(low, high)}."
    detail += f" {spared:.0%} of the answers were spared." if spared >= 0.005 else ""
    return render_status(sentence, None, detail)


def wire_curve(
    panel: CurvePanel,
    searching: Searching,
    controls: dict[Key, Component],
    methods: gr.Dropdown,
    evaluate: Callable[[Any], None],
    fill: Callable[[Any], None],
) -> None:
    """Connect the panel's events.

    Args:
        controls: what holds each parameter's value.
        evaluate: what follows a change of the session's own settings.
        fill: goes on with the curve after an event.
    """
    quiet: dict[str, Any] = {"show_progress": "hidden"}

    def choose(request: gr.Request, parameter: str, is_relative: bool) -> list[Any]:
        try:
            return searching.choose(request.session_hash, parameter, is_relative)
        except Exception as error:
            raise as_message(error) from None

    def find_best(request: gr.Request) -> Iterator[list[Any]]:
        def steps() -> Iterator[list[Any]]:
            for status, found, value in searching.find_best(request.session_hash):
                yield [status, *(value if key == found else gr.skip() for key in controls)]

        yield from on_status_line(steps(), 1 + len(controls))

    def follow(names: list[str], current: str) -> Any:
        choices = parameter_choices(names or [])
        keys = [key for _, key in choices]
        return gr.update(choices=choices, value=current if current in keys else next(iter(keys), None))

    chosen = gr.on(
        [panel.parameter.input, panel.is_relative.input],
        choose,
        [panel.parameter, panel.is_relative],
        [panel.figure, panel.best],
        queue=False,
        trigger_mode="multiple",
        **quiet,
        api_name="choose_curve",
    )
    fill(chosen)
    methods.change(follow, [methods, panel.parameter], panel.parameter, **quiet, api_visibility="private")
    shown: list[Any] = [panel.found, *controls.values()]
    evaluate(panel.search.click(find_best, None, shown, **quiet, concurrency_limit=32, api_name="find_best"))
