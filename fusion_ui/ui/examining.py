"""What happens when a person looks closer: a merge examined layer by layer, and the best value sought."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr
import pandas as pd

from fusion_ui.errors import FusionError, RecipeError
from fusion_ui.evaluation.search import BestValue
from fusion_ui.execution import Job
from fusion_ui.merging.plan import MergePlan
from fusion_ui.methods import find_method
from fusion_ui.plots.layers import QUANTITIES, layers_figure
from fusion_ui.progress import Progress
from fusion_ui.results.layers import layer_table
from fusion_ui.ui.handlers import Handlers, as_message
from fusion_ui.ui.panels.closer import CloserPanel
from fusion_ui.ui.panels.fuse import MAIN, main_parameter
from fusion_ui.ui.render import render_status
from fusion_ui.ui.session import Session

NUM_VALUES = 21
"""Of the slider's parameter, over its whole range."""


class Examining:
    """Handlers of the closer look. Long work is the visitor's own: Stop and leaving end it, the slider does not."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers, self.workspace = handlers, handlers.workspace

    def examine(self, session_id: str | None, method: str, quantity: str) -> Iterator[list[Any]]:
        """Status while a merge is examined; at the end the figure, the sentences and the table behind them."""
        session = self.handlers.sessions.get(session_id)
        plan = self._plan(session, method)
        for step in self._follow(session, partial(self.workspace.examine, plan)):
            if isinstance(step, tuple) and len(step) == 2 and isinstance(step[0], float):
                yield [render_status(step[1], step[0]), gr.skip(), gr.skip(), gr.skip()]
                continue
            frame = layer_table(step)
            rows = [[report.name, sentence] for report in step for sentence in report.attention]
            said = f"{plan.method.describe()}: {len(step)} tensors, {len(rows)} remarks."
            table = {"headers": ["Tensor", "What should be looked at"], "rows": rows}
            yield [render_status(said), draw_layers(frame, quantity), table, frame]

    def find_best(self, session_id: str | None) -> Iterator[tuple[dict[str, Any], Any]]:
        """Status while the best value is sought; at the end a sentence, and the value for the slider."""
        session = self.handlers.sessions.get(session_id)
        project, request, plan = session.project, session.request, self._plan(session, MAIN[0])
        select, report = (self.handlers.evaluation(project, split) for split in ("select", "report"))
        in_domain = tuple(e.domain for e in project.experts if e.name in request.experts)

        def work(progress: Progress) -> BestValue:
            values = main_parameter().spread(NUM_VALUES)
            search = self.workspace.find_best(plan, MAIN[1], values, select, in_domain, report, progress)
            while True:
                try:
                    next(search)
                except StopIteration as end:
                    return end.value

        for step in self._follow(session, work):
            if not isinstance(step, BestValue):
                yield render_status(step[1], step[0]), gr.skip()
                continue
            outcome, scores = step.outcome, step.report
            assert scores is not None  # a report split was given
            low, high = scores.interval
            spared = 1 - outcome.num_answers / outcome.num_answers_full
            sentence = f"α = {outcome.best:g} on select; {outcome.sentence}"
            detail = f"On report: mean {scores.mean:.1%} [{low:.1%}, {high:.1%}]."
            detail += f" {spared:.0%} of the answers were spared." if spared >= 0.005 else ""
            yield render_status(sentence, None, detail), outcome.best

    def _plan(self, session: Session, method: str) -> MergePlan:
        if not session.project.is_complete:
            raise RecipeError("Add models and data first.")
        return self.workspace.plan(session.request.recipe(session.project, str(method)))

    def _follow(self, session: Session, work: Callable[[Progress], Any]) -> Iterator[Any]:
        """Fractions with sentences, and at the end the result."""
        with session.fetching(Job(work, self.workspace.turns.urgent_progress)) as job:
            result = yield from job.follow()
            yield result


def draw_layers(frame: pd.DataFrame, quantity: str) -> Any:
    """The heat map of an examined merge; nothing before there is one."""
    return layers_figure(frame, quantity) if len(frame) and quantity in QUANTITIES else gr.skip()


def wire_closer(
    panel: CloserPanel, examining: Examining, slider: gr.Slider, methods: gr.Dropdown, chain: Callable[[Any], None]
) -> None:
    """Connect the panel's events."""
    shown = [panel.status, panel.figure, panel.attention, panel.reports]

    def examine(request: gr.Request, method: str, quantity: str) -> Iterator[list[Any]]:
        try:
            yield from examining.examine(request.session_hash, method, quantity)
        except FusionError as error:
            yield [render_status(str(error), is_error=True), gr.skip(), gr.skip(), gr.skip()]
        except Exception as error:
            raise as_message(error) from None

    def find_best(request: gr.Request) -> Iterator[tuple[dict[str, Any], Any]]:
        try:
            yield from examining.find_best(request.session_hash)
        except FusionError as error:
            yield render_status(str(error), is_error=True), gr.skip()
        except Exception as error:
            raise as_message(error) from None

    def follow(names: list[str], current: str) -> Any:
        names = names or []
        choices = [(find_method(name).title, name) for name in names]
        return gr.update(choices=choices, value=current if current in names else next(iter(names), None))

    quiet: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": 2}
    panel.examine.click(examine, [panel.method, panel.quantity], shown, **quiet, api_name="examine")
    panel.quantity.input(
        draw_layers, [panel.reports, panel.quantity], panel.figure, show_progress="hidden", api_visibility="private"
    )
    methods.change(follow, [methods, panel.method], panel.method, show_progress="hidden", api_visibility="private")
    chain(panel.search.click(find_best, None, [panel.found, slider], **quiet, api_name="find_best"))
