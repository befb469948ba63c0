"""What happens when a person looks at layers: a merge is examined."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr
import pandas as pd

from fusion_ui.methods import find_method
from fusion_ui.plots.layers import QUANTITIES, layers_figure
from fusion_ui.results.layers import layer_table
from fusion_ui.ui.long_work import LongWork, on_status_line
from fusion_ui.ui.panels.layers import LayersPanel
from fusion_ui.ui.render import render_status


class Examining(LongWork):
    """Handlers of the layers."""

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


def draw_layers(frame: pd.DataFrame, quantity: str) -> Any:
    """The heat map of an examined merge; nothing before there is one."""
    return layers_figure(frame, quantity) if len(frame) and quantity in QUANTITIES else gr.skip()


def wire_layers(panel: LayersPanel, examining: Examining, methods: gr.Dropdown) -> None:
    """Connect the panel's events."""
    shown = [panel.status, panel.figure, panel.attention, panel.reports]

    def examine(request: gr.Request, method: str, quantity: str) -> Iterator[list[Any]]:
        yield from on_status_line(examining.examine(request.session_hash, method, quantity), len(shown))

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
