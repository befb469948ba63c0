"""The slider and the two figures that follow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from fusion_ui.methods import find_method
from fusion_ui.parameters import Range
from fusion_ui.plots.accuracy import HEIGHT
from fusion_ui.projects.measures import metric_choices
from fusion_ui.projects.project import Project
from fusion_ui.ui.controls import live_figure, status_line
from fusion_ui.ui.curve_choice import MAIN, CurveChoice
from fusion_ui.ui.explaining import explained_parameter
from fusion_ui.ui.panels.curve import CurvePanel, build_curve_panel
from fusion_ui.ui.render import render_accuracy, render_numbers, render_status
from fusion_ui.ui.request import FuseRequest

USUAL = ("Each domain's own", "")


@dataclass(frozen=True)
class FusePanel:
    """The panel's components."""

    slider: gr.Slider
    status: gr.HTML
    stop: gr.Button
    figure: gr.HTML
    curve: CurvePanel
    is_from_zero: gr.Checkbox
    metric: gr.Dropdown
    numbers: gr.Dataframe
    download: gr.Button


def show_metrics(request: FuseRequest, project: Project) -> dict[str, Any]:
    """An update that offers a project's metrics, the request's own chosen."""
    return gr.update(choices=[USUAL, *metric_choices(project)], value=request.metric)


def main_parameter() -> Range:
    """The declaration behind the slider."""
    return CurveChoice().declared


def build_fuse_panel(project: Project, start: FuseRequest) -> FusePanel:
    """Slider on top, figures side by side, exact numbers below."""
    declared = main_parameter()
    alpha = dict(dict(start.parameters)[MAIN[0]])[MAIN[1]]
    with gr.Row(elem_classes="card alpha", equal_height=True):
        with gr.Column(scale=4, min_width=280):
            slider = explained_parameter(find_method(MAIN[0]), declared, alpha, "alpha")
            gr.HTML(
                f'<div class="ends"><span>{declared.minimum:g} · {declared.minimum_label}</span>'
                f"<span>{declared.maximum:g} · {declared.maximum_label}</span></div>"
            )
        with gr.Column(scale=1, min_width=230, elem_classes="activity"):
            status = status_line(render_status("Starting"), "status")
            stop = gr.Button("Stop", size="sm", elem_id="stop")
    with gr.Row(equal_height=True):
        with gr.Column(scale=5, min_width=320, elem_classes="card"):
            gr.HTML("<h2>Scores by domain</h2><p>Report split, 95 % interval. Dotted: the domain's own expert.</p>")
            figure = live_figure(
                render_accuracy(project, {}, frozenset(), False), HEIGHT, "Scores by domain", "accuracy"
            )
            with gr.Row(equal_height=True, elem_id="scores-options"):
                metric = gr.Dropdown(
                    [USUAL, *metric_choices(project)],
                    value=start.metric,
                    label="Metric",
                    min_width=150,
                    elem_id="metric",
                )
                is_from_zero = gr.Checkbox(
                    start.is_from_zero, label="Bars from zero", container=False, min_width=130, elem_id="from-zero"
                )
        with gr.Column(scale=4, min_width=320, elem_classes="card"):
            curve = build_curve_panel(project, start)
    with gr.Column(elem_classes="card"):
        with gr.Row():
            gr.HTML("<h2>Numbers</h2><p>On the report split, shares in percent.</p>")
            download = gr.Button("Download CSV", size="sm", scale=0, min_width=140, elem_id="download")
        numbers = gr.Dataframe(
            render_numbers(project, {}),
            interactive=False,
            show_label=False,
            elem_id="numbers",
            buttons=[],
            max_height=460,
            wrap=True,
        )
    assert isinstance(slider, gr.Slider)
    metric.preprocess = lambda payload: payload  # FuseRequest checks: its choices change with the project
    return FusePanel(slider, status, stop, figure, curve, is_from_zero, metric, numbers, download)
