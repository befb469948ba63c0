"""What happens when a person looks at layers: a merge is examined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr
import pandas as pd

from fusion_ui.merging.layer_report import LayerReport
from fusion_ui.methods import find_method
from fusion_ui.plots.interference import interference_figure
from fusion_ui.plots.layers import QUANTITIES, layers_figure
from fusion_ui.results.interference import PAIR_NUMBERS, pair_table
from fusion_ui.results.layers import layer_table
from fusion_ui.ui.long_work import LongWork, on_status_line
from fusion_ui.ui.panels.layers import LayersPanel
from fusion_ui.ui.render import render_status


class Examining(LongWork):
    """Handlers of the layers."""

    def examine(self, session_id: str | None, method: str, quantity: str, between: str) -> Iterator[list[Any]]:
        """Status while a merge is examined; at the end the figures, the sentences and the tables behind them."""
        session = self.find_session(session_id)
        plan = self.plan_of(session, method)
        work = self.rehearsed(session, str(method), partial(self.workspace.examine, plan, base=session.project.base))
        for status, reports in self.follow(session, work):
            if status:
                yield [status, *[gr.skip()] * 6]
                continue
            frame, pairs = layer_table(reports), pair_table(reports, [expert.name for expert in plan.experts])
            rows = [[report.name, sentence] for report in reports for sentence in report.attention]
            said = f"{plan.method.describe()}: {len(reports)} tensors, {len(rows)} remarks."
            table = {"headers": ["Tensor", "What should be looked at"], "rows": rows}
            drawn = [draw_layers(frame, quantity), table, frame, draw_pairs(pairs, between)]
            yield [render_status(said), *drawn, _explain(reports, len(plan.experts)), pairs]


def draw_layers(frame: pd.DataFrame, quantity: str) -> Any:
    """The heat map of an examined merge; nothing before there is one."""
    return layers_figure(frame, quantity) if len(frame) and quantity in QUANTITIES else gr.skip()


def draw_pairs(frame: pd.DataFrame, between: str) -> Any:
    """The heat map of pairs; nothing before there is one."""
    return interference_figure(frame, between) if len(frame) and between in PAIR_NUMBERS else gr.skip()


def _explain(reports: Sequence[LayerReport], count: int) -> dict[str, Any]:
    """What the numbers between experts mean, and what they are counted from."""
    if count < 2:
        return render_status("One expert alone has nobody to pull apart from.")
    if any(report.interference.is_from_base for report in reports):
        return render_status(
            "Changes are counted from the base model. Cosine 1: two experts learned the same here, which a mean keeps. "
            f"0: unrelated, and a mean of {count} keeps a share of 1/{count} of each. Below 0: they cancel.",
            None,
            "Half of the entries changed in opposite directions is what chance gives.",
        )
    return render_status(
        "No base model is known, so changes are counted from the experts' mean, from which they always point apart: "
        f"{count} unrelated experts are at a cosine of {-1 / (count - 1):.2f}. Compare pairs with each other only.",
    )


def wire_layers(panel: LayersPanel, examining: Examining, methods: gr.Dropdown) -> None:
    """Connect the panel's events."""
    shown = [panel.status, panel.figure, panel.attention, panel.reports, panel.pairs, panel.about, panel.pair_reports]

    def examine(request: gr.Request, method: str, quantity: str, between: str) -> Iterator[list[Any]]:
        yield from on_status_line(examining.examine(request.session_hash, method, quantity, between), len(shown))

    def follow(names: list[str], current: str) -> Any:
        names = names or []
        choices = [(find_method(name).title, name) for name in names]
        return gr.update(choices=choices, value=current if current in names else next(iter(names), None))

    quiet: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": 32}
    panel.examine.click(examine, [panel.method, panel.quantity, panel.between], shown, **quiet, api_name="examine")
    panel.quantity.input(
        draw_layers, [panel.reports, panel.quantity], panel.figure, show_progress="hidden", api_visibility="private"
    )
    panel.between.input(
        draw_pairs, [panel.pair_reports, panel.between], panel.pairs, show_progress="hidden", api_visibility="private"
    )
    methods.change(follow, [methods, panel.method], panel.method, show_progress="hidden", api_visibility="private")
