"""The curve over a parameter, and the search for its best value."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from fusion_ui.plots.parameter_curve import HEIGHT
from fusion_ui.projects.project import Project
from fusion_ui.ui.controls import live_figure, status_line
from fusion_ui.ui.curve_choice import CurveChoice, curve_choices
from fusion_ui.ui.explaining import explain_curve, explanation
from fusion_ui.ui.render import render_curve, render_status
from fusion_ui.ui.request import FuseRequest

ABOUT = "Select split, bands: 95 % intervals. Fills in while nothing else is asked."


@dataclass(frozen=True)
class CurvePanel:
    """The panel's components."""

    parameter: gr.Dropdown
    is_relative: gr.Checkbox
    figure: gr.HTML
    best: gr.HTML
    search: gr.Button
    found: gr.HTML


def build_curve_panel(project: Project, start: FuseRequest) -> CurvePanel:
    """Which parameter, its curve, and the search below."""
    first = CurveChoice()
    current = dict(dict(start.parameters)[first.method])[first.parameter]
    with gr.Row(equal_height=True, elem_classes="explained"):
        gr.HTML("<h2>Every value</h2>", min_width=90)
        parameter = gr.Dropdown(
            parameter_choices(start.methods),
            value=first.key,
            label="Every value of",
            show_label=False,
            container=False,
            scale=0,
            min_width=170,
            elem_id="curve-parameter",
        )
        explanation("curve-parameter", "this list", explain_curve())
    gr.HTML(f"<p>{ABOUT}</p>")
    figure = live_figure(
        render_curve(project, {}, {}, first, current), HEIGHT, "Scores for every value of a parameter", "curve"
    )
    is_relative = gr.Checkbox(
        first.is_relative, label="Per cent of each domain's own expert", container=False, elem_id="curve-relative"
    )
    best = status_line(render_status(""), "best")
    with gr.Row(equal_height=True):
        search = gr.Button("Find the best value", size="sm", scale=0, min_width=150, elem_id="find-best")
        found = status_line(render_status("Sought on select with early stopping, then scored on report."), "found-best")
    parameter.preprocess = lambda payload: payload  # checked where it is used: its choices follow the methods
    return CurvePanel(parameter, is_relative, figure, best, search, found)


def parameter_choices(methods: tuple[str, ...] | list[str]) -> list[tuple[str, str]]:
    """Title and key of every parameter that has a curve while these methods are compared."""
    return [(choice.title, choice.key) for choice in curve_choices(methods)]
