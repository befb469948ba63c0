"""How RegMean works, shown on two weights of the project's own models."""

from __future__ import annotations

import html
from dataclasses import dataclass

import gradio as gr

from fusion_ui.methods.regmean import RegMean
from fusion_ui.plots.two_features import HEIGHT, two_features_figure
from fusion_ui.ui.controls import live_figure, status_line, text_table
from fusion_ui.ui.explaining import explain_method, explanation
from fusion_ui.ui.render import render_status

WORDS = f"""<p>On an expert's own text, any other choice of a layer's weights costs an error, which grows like a bowl
around the expert's own weights. The Gram matrix is the shape of that bowl: steep where inputs are strong, a valley
where inputs go together. The simple mean lies halfway, however steep the walls. RegMean takes the point where the bowls
together are lowest. α below 1 forgets in part that inputs go together; at 0 each input is weighted alone.</p>
<p><code>{html.escape(RegMean.formula)}</code></p>"""


@dataclass(frozen=True)
class HowPanel:
    """The panel's components. `picture` keeps what the figure draws."""

    layer: gr.Dropdown
    first: gr.Dropdown
    second: gr.Dropdown
    draw: gr.Button
    status: gr.HTML
    figure: gr.HTML
    numbers: gr.HTML
    picture: gr.State


def build_how_panel() -> HowPanel:
    """Nothing is read before it is asked for."""
    with gr.Tab("How it works"):
        with gr.Row(elem_classes="explained"):
            gr.HTML(WORDS)
            explanation("how", "RegMean", [explain_method(RegMean)])
        with gr.Row(equal_height=True):
            layer = gr.Dropdown([], label="Layer", elem_id="how-layer")
            first = gr.Dropdown([], label="One expert", elem_id="how-first")
            second = gr.Dropdown([], label="Another", elem_id="how-second")
            draw = gr.Button("Draw", size="sm", scale=0, min_width=110, elem_id="how-draw")
        status = status_line(render_status("Two experts and two weights of a layer that they share."), "how-status")
        figure = live_figure(two_features_figure(None, 0.0), HEIGHT, "Two experts' errors over two weights", "how")
        picture = gr.State(None)
        numbers = text_table("how-numbers", "Errors of the experts, their mean and RegMean")
    for control in (layer, first, second):  # checked where they are used: the choices are the project's
        control.preprocess = lambda payload: payload
    return HowPanel(layer, first, second, draw, status, figure, numbers, picture)
