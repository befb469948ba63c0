"""Every two experts merged, and experts added one by one: the two tabs' components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from fusion_ui.methods import METHODS
from fusion_ui.plots.growth import HEIGHT, growth_figure
from fusion_ui.plots.pairs import LEAST_HEIGHT, PLACES, QUANTITIES, pairs_figure
from fusion_ui.projects.project import Project
from fusion_ui.results.experiments import growth_table, pair_table
from fusion_ui.ui.controls import live_figure, status_line, text_table
from fusion_ui.ui.order_list import order_list
from fusion_ui.ui.render import domain_titles, render_status
from fusion_ui.ui.request import FuseRequest

PAIRS_HINT = "Merges every two models and scores each merge on the report split."
GROWTH_HINT = "Merges the first model, the first two and so on, each time from scratch; scored on the report split."


@dataclass(frozen=True)
class PairsPanel:
    """The components of the tab "Pairs"."""

    method: gr.Dropdown
    quantity: gr.Radio
    place: gr.Radio
    run: gr.Button
    stop: gr.Button
    status: gr.HTML
    figure: gr.HTML
    table: gr.HTML


@dataclass(frozen=True)
class GrowthPanel:
    """The components of the tab "Growth"."""

    method: gr.Dropdown
    order: gr.HTML
    has_ensemble: gr.Checkbox
    run: gr.Button
    stop: gr.Button
    status: gr.HTML
    figure: gr.HTML
    table: gr.HTML


def expert_titles(project: Project) -> dict[str, str]:
    """Expert name -> title."""
    return {expert.name: expert.title for expert in project.experts}


def build_pairs_panel(project: Project) -> PairsPanel:
    """A heat map, and beside it the same numbers with their intervals."""
    with gr.Tab("Pairs"):
        with gr.Row(equal_height=True):
            method = _method_choice("pairs-method")
            shown = [(title[:1].upper() + title[1:], name) for name, title in QUANTITIES.items()]
            quantity = gr.Radio(shown, value="better", label="Show the score", elem_id="pairs-quantity")
            where = [(title[:1].upper() + title[1:], name) for name, title in PLACES.items()]
            place = gr.Radio(where, value="own", label="On", elem_id="pairs-place")
        run, stop, status = _actions("Merge every pair", PAIRS_HINT, "pairs")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                figure = live_figure(
                    pairs_figure(pair_table([], {}), expert_titles(project), "better", "own"),
                    LEAST_HEIGHT,
                    "Every pair of models",
                    "pairs",
                )
                gr.HTML("<p>In points of the score. Bold: the paired 95 % interval leaves 0 out.</p>")
            with gr.Column(scale=1, min_width=480):
                table = text_table("pairs-table", "Every pair of models")
    checked: list[Any] = [quantity, place]
    for control in checked:  # where they are used
        control.preprocess = lambda payload: payload
    return PairsPanel(method, quantity, place, run, stop, status, figure, table)


def build_growth_panel(project: Project, start: FuseRequest) -> GrowthPanel:
    """The order on the left, the figure beside it, the numbers below."""
    titles = expert_titles(project)
    with gr.Tab("Growth"):
        with gr.Row():
            with gr.Column(scale=1, min_width=240):
                method = _method_choice("growth-method")
                gr.HTML("<p>Order in which models are added. Drag, or use the arrows.</p>")
                order = order_list(start.experts, titles, "Order in which models are added", "growth-order")
                has_ensemble = gr.Checkbox(False, label="Ensemble too", container=False, elem_id="growth-ensemble")
            with gr.Column(scale=3, min_width=300):
                run, stop, status = _actions("Add one by one", GROWTH_HINT, "growth")
                empty = growth_figure(growth_table([]), domain_titles(project), [titles[n] for n in start.experts])
                figure = live_figure(empty, HEIGHT, "Scores while models are added", "growth")
                gr.HTML(
                    "<p>95 % intervals. Hollow: the domain's own model is not in the merge yet. "
                    "Dotted: that model alone.</p>"
                )
        table = text_table("growth-table", "Scores while models are added")
    return GrowthPanel(method, order, has_ensemble, run, stop, status, figure, table)


def _method_choice(elem_id: str) -> gr.Dropdown:
    choices = [(method.title, method.name) for method in METHODS]
    choice: Any = gr.Dropdown(choices, value=METHODS[0].name, label="Method, as set on the left", elem_id=elem_id)
    choice.preprocess = lambda payload: payload  # checked where it is used
    return choice


def _actions(words: str, hint: str, name: str) -> tuple[gr.Button, gr.Button, gr.HTML]:
    with gr.Row(equal_height=True):
        run = gr.Button(words, size="sm", scale=0, min_width=150, elem_id=f"{name}-run")
        stop = gr.Button("Stop", size="sm", scale=0, min_width=70, elem_id=f"{name}-stop")
    return run, stop, status_line(render_status(hint), f"{name}-status")
