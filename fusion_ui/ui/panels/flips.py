"""Sentences that two models answer differently, and how one model confuses labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from fusion_ui.plots.confusion import confusion_figure
from fusion_ui.projects.project import Project
from fusion_ui.ui.contestants import Choices, contestant_choices
from fusion_ui.ui.controls import live_figure, status_line, text_table
from fusion_ui.ui.render import render_status
from fusion_ui.ui.render_flips import KIND_TITLES
from fusion_ui.ui.request import FuseRequest

HEIGHT = 240
ANY = ("any", "")
KIND_CHOICES = [(title, kind.value) for kind, title in KIND_TITLES.items()]


@dataclass(frozen=True)
class FlipsPanel:
    """The panel's components. `found` keeps the flips that the filters look through."""

    model: gr.Dropdown
    other: gr.Dropdown
    find: gr.Button
    status: gr.HTML
    counts: gr.HTML
    text: gr.Textbox
    domain: gr.Dropdown
    label: gr.Dropdown
    kind: gr.Dropdown
    shown: gr.HTML
    flips: gr.HTML
    more: gr.Button
    num_shown: gr.State
    found: gr.State
    confused: gr.Dropdown
    confused_on: gr.Dropdown
    confusion_status: gr.HTML
    confusion: gr.HTML
    tab: gr.Tab

    @property
    def lists(self) -> list[gr.Dropdown]:
        """Those that follow the project and the methods, in the order of `contestant_choices`."""
        return [self.model, self.other, self.confused, self.confused_on]


def build_flips_panel(project: Project, start: FuseRequest) -> FlipsPanel:
    """Nothing is compared before it is asked for: two models then answer every sentence."""
    models, others, confusable, domains = contestant_choices(project, start)
    with gr.Tab("Flips") as tab:
        with gr.Row(equal_height=True):
            model = gr.Dropdown(**models, label="Model", elem_id="flips-model")
            other = gr.Dropdown(**others, label="Against", elem_id="flips-other")
            find = gr.Button("Find flips", size="sm", scale=0, min_width=110, elem_id="find-flips")
        status = status_line(
            render_status("Sentences of the report split that two models answer differently."), "flips-status"
        )
        counts = text_table("flips-counts", "Flips by domain")
        with gr.Row(equal_height=True, elem_id="flips-filters"):
            text = gr.Textbox(label="Search", max_lines=1, max_length=200, min_width=140, elem_id="flips-text")
            domain = gr.Dropdown(**any_of(()), label="Domain", min_width=120, elem_id="flips-domain")
            label = gr.Dropdown(**any_of(()), label="True label", min_width=120, elem_id="flips-label")
            kind = gr.Dropdown(**any_of(KIND_CHOICES), label="Kind", min_width=120, elem_id="flips-kind")
        shown = status_line(render_status(""), "flips-shown")
        flips = text_table("flips", "Flips, those of which both models are surest first")
        more = gr.Button("Show more", size="sm", visible=False, elem_id="more-flips")
        num_shown, found = gr.State(0), gr.State(None)  # inside the tab, of which Gradio counts the neighbours
        gr.HTML("<h2>Confusion</h2><p>How often each label is taken for which, on the report split.</p>")
        with gr.Row(equal_height=True):
            confused = gr.Dropdown(**confusable, label="Model", elem_id="confused")
            confused_on = gr.Dropdown(**domains, label="Domain", elem_id="confused-on")
        confusion_status = status_line(render_status(""), "confusion-status")
        confusion = live_figure(confusion_figure(None), HEIGHT, "Confusion of labels", "confusion")
    for control in (model, other, domain, label, kind, confused, confused_on):  # checked where they are used
        control.preprocess = lambda payload: payload
    return FlipsPanel(
        model, other, find, status, counts, text, domain, label, kind, shown, flips, more, num_shown, found,
        confused, confused_on, confusion_status, confusion, tab,
    )  # fmt: skip


def any_of(choices: Choices) -> dict[str, Any]:
    """Properties of a filter's list: everything, or one of the choices."""
    return {"choices": [ANY, *choices], "value": ""}
