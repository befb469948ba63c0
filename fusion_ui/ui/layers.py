"""What happens when a person looks at layers: a merge examined, and the best value of the slider sought."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr
import pandas as pd

from fusion_ui.evaluation.search import BestValue
from fusion_ui.methods import find_method
from fusion_ui.plots.layers import QUANTITIES, layers_figure
from fusion_ui.progress import Progress
from fusion_ui.results.layers import layer_table
from fusion_ui.ui.long_work import LongWork, on_status_line
from fusion_ui.ui.panels.fuse import MAIN, main_parameter
from fusion_ui.ui.panels.layers import LayersPanel
from fusion_ui.ui.render import render_status

NUM_VALUES = 21
"""Of the slider's parameter, over its whole range."""


class Examining(LongWork):
    """Handlers of the layers and of the search."""

    def examine(self, session_id: str | None, method: str, quantity: str) -> Iterator[list[Any]]:
        """Status while a merge is examined; at the end the figure, the sentences and the table behind them."""
        session = self.find_session(session_id)
        plan = self.plan_of(session, method)
        for status, reports in self.follow(session, partial(self.workspace.examine, plan)):
            if status:
                yield [status, gr.skip(), gr.skip(), gr.skip()]
                continue
            frame = layer_table(reports)
            rows = [[report.name, sentence] for report in reports for sentence in report.attention]
            said = f"{plan.method.describe()}: {len(reports)} tensors, {len(rows)} remarks."
            table = {"headers": ["Tensor", "What should be looked at"], "rows": rows}
            yield [render_status(said), draw_layers(frame, quantity), table, frame]

    def find_best(self, session_id: str | None) -> Iterator[list[Any]]:
        """Status while the best value is sought; at the end a sentence, and the value for the slider."""
        session = self.find_session(session_id)
        plan = self.plan_of(session, MAIN[0])
        select, report = (self.handlers.evaluation(session.project, split) for split in ("select", "report"))

        def work(progress: Progress) -> BestValue:
            values, in_domain = main_parameter().spread(NUM_VALUES), self.in_domain_of(session)
            search = self.workspace.find_best(plan, MAIN[1], values, select, in_domain, report, progress)
            while True:
                try:
                    next(search)
                except StopIteration as end:
                    return end.value

        for status, found in self.follow(session, work):
            yield [status, gr.skip()] if status else [_say_best(found), found.outcome.best]


def _say_best(found: BestValue) -> dict[str, Any]:
    outcome, scores = found.outcome, found.report
    assert scores is not None  # a report split was given
    low, high = scores.interval
    spared = 1 - outcome.num_answers / outcome.num_answers_full
    sentence = f"α = {outcome.best:g} on select; {outcome.sentence}"
    detail = f"On report: mean {scores.mean:.1%} [{low:.1%}, {high:.1%}]."
    detail += f" {spared:.0%} of the answers were spared." if spared >= 0.005 else ""
    return render_status(sentence, None, detail)


def draw_layers(frame: pd.DataFrame, quantity: str) -> Any:
    """The heat map of an examined merge; nothing before there is one."""
    return layers_figure(frame, quantity) if len(frame) and quantity in QUANTITIES else gr.skip()


def wire_layers(
    panel: LayersPanel, examining: Examining, slider: gr.Slider, methods: gr.Dropdown, chain: Callable[[Any], None]
) -> None:
    """Connect the panel's events."""
    shown = [panel.status, panel.figure, panel.attention, panel.reports]

    def examine(request: gr.Request, method: str, quantity: str) -> Iterator[list[Any]]:
        yield from on_status_line(examining.examine(request.session_hash, method, quantity), len(shown))

    def find_best(request: gr.Request) -> Iterator[list[Any]]:
        yield from on_status_line(examining.find_best(request.session_hash), 2)

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
