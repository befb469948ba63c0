"""What was done to every layer."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr
import pandas as pd

from fusion_ui.methods import find_method
from fusion_ui.plots.layers import QUANTITIES, layers_figure
from fusion_ui.results.layers import layer_table
from fusion_ui.ui.controls import live_figure, status_line, text_table
from fusion_ui.ui.render import render_status
from fusion_ui.ui.request import FuseRequest

HEIGHT = 360
FIRST = "moved"


@dataclass(frozen=True)
class LayersPanel:
    """The panel's components. `reports` keeps the table that the figure draws from."""

    method: gr.Dropdown
    quantity: gr.Dropdown
    examine: gr.Button
    status: gr.HTML
    figure: gr.HTML
    attention: gr.HTML
    reports: gr.State


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
        figure = live_figure(layers_figure(layer_table([]), FIRST), HEIGHT, "Layers of the merge", "layers")
        attention = text_table("attention", "What should be looked at")
        reports = gr.State(pd.DataFrame())  # inside the tab: gradio counts all children of its tabs as tabs
    for control in (method, quantity):  # checked where they are used
        control.preprocess = lambda payload: payload
    return LayersPanel(method, quantity, examine, status, figure, attention, reports)
