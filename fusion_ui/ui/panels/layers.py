"""What was done to every layer."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr
import pandas as pd

from fusion_ui.methods import find_method
from fusion_ui.plots.interference import interference_figure
from fusion_ui.plots.layers import LEAST_HEIGHT, QUANTITIES, layers_figure
from fusion_ui.results.interference import PAIR_NUMBERS, pair_table
from fusion_ui.results.layers import layer_table
from fusion_ui.ui.controls import live_figure, status_line, text_table
from fusion_ui.ui.render import render_status
from fusion_ui.ui.request import FuseRequest

FIRST, FIRST_BETWEEN = "moved", "cosine"


@dataclass(frozen=True)
class LayersPanel:
    """The panel's components. `reports` and `pair_reports` keep the tables that the figures draw from."""

    method: gr.Dropdown
    quantity: gr.Dropdown
    examine: gr.Button
    status: gr.HTML
    figure: gr.HTML
    attention: gr.HTML
    reports: gr.State
    between: gr.Dropdown
    pairs: gr.HTML
    about: gr.HTML
    pair_reports: gr.State


def build_layers_panel(start: FuseRequest) -> LayersPanel:
    """Nothing is examined before it is asked for: it takes some seconds."""
    with gr.Tab("Layers"):
        with gr.Row(equal_height=True):
            method = gr.Dropdown(
                [(find_method(name).title, name) for name in start.methods],
                value=start.methods[0],
                label="Merge",
                elem_id="examined",
            )
            quantity = gr.Dropdown(
                [(about.title[:1].upper() + about.title[1:], name) for name, about in QUANTITIES.items()],
                value=FIRST,
                label="Colour shows",
                elem_id="quantity",
            )
            examine = gr.Button("Examine", size="sm", scale=0, min_width=110, elem_id="examine")
        status = status_line(render_status("What the merge did to every weight, and what it stood on."), "examining")
        figure = live_figure(layers_figure(layer_table([]), FIRST), LEAST_HEIGHT, "Layers of the merge", "layers")
        attention = text_table("attention", "What should be looked at")
        between = gr.Dropdown(
            [(QUANTITIES[name].title[:1].upper() + QUANTITIES[name].title[1:], name) for name in PAIR_NUMBERS],
            value=FIRST_BETWEEN,
            label="Between every two experts",
            elem_id="between",
        )
        empty = interference_figure(pair_table([], []), FIRST_BETWEEN)
        pairs = live_figure(empty, LEAST_HEIGHT, "How the experts' changes lie to each other", "pairs-of-experts")
        about = status_line(render_status("Examine a merge to see where its experts pull apart."), "about-pairs")
        # Inside the tab: gradio counts all children of its tabs as tabs.
        reports, pair_reports = gr.State(pd.DataFrame()), gr.State(pd.DataFrame())
    for control in (method, quantity, between):  # checked where they are used
        control.preprocess = lambda payload: payload
    return LayersPanel(
        method, quantity, examine, status, figure, attention, reports, between, pairs, about, pair_reports
    )
