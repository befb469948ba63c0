"""The experts: which take part, and what each is calibrated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from fusion_ui.projects.building import MAX_EXPERTS
from fusion_ui.projects.project import FROM_FILE, Project, ProjectExpert
from fusion_ui.ui.explaining import explain_sentences, explain_weights, explanation
from fusion_ui.ui.request import MAX_SENTENCES, FuseRequest

MAX_WEIGHT = 3.0


@dataclass(frozen=True)
class ModelsPanel:
    """The panel's controls: one row for each expert that there is room for, in the order of the project's experts."""

    included: tuple[gr.Checkbox, ...]
    calibration: tuple[gr.Dropdown, ...]
    weights: tuple[gr.Slider, ...]
    num_examples: gr.Slider


def build_models_panel(project: Project, start: FuseRequest) -> ModelsPanel:
    """One row an expert: take part or not, and whose calibration sentences."""
    included, calibration, weights = [], [], []
    with gr.Column(elem_classes="card"):
        gr.HTML("<h2>1 · Models and their data</h2><p>Untick a model to make its domain out-of-domain.</p>")
        for number in range(MAX_EXPERTS):
            box, choice, _ = row_values(project, start, number)
            with gr.Row(elem_classes="expert"):
                included.append(gr.Checkbox(**box, container=False, min_width=120, scale=1))
                calibration.append(gr.Dropdown(**choice, show_label=False, container=False, min_width=120, scale=1))
        with gr.Accordion("Weights", open=False, elem_id="weights"):
            with gr.Row(elem_classes="explained"):
                gr.HTML("<p>How much each model counts in a merge. Only their ratio matters.</p>")
                explanation("weights", "a model's weight", explain_weights())
            for number in range(MAX_EXPERTS):
                *_, weight = row_values(project, start, number)
                weights.append(gr.Slider(0, MAX_WEIGHT, step=0.05, **weight))
        with gr.Row(elem_classes="explained"):
            num_examples = gr.Slider(
                8,
                MAX_SENTENCES,
                start.num_examples,
                step=8,
                label="Calibration sentences",
                info="How many sentences of its calibration data each expert reads for its statistics.",
                elem_id="sentences",
            )
            explanation("sentences", "a calibration sentence", explain_sentences())
    for control in (num_examples, *calibration, *weights):  # FuseRequest checks, with one sentence for page and API
        control.preprocess = lambda payload: payload
    return ModelsPanel(tuple(included), tuple(calibration), tuple(weights), num_examples)


def row_values(project: Project, request: FuseRequest, number: int) -> tuple[dict[str, Any], ...]:
    """Properties of an expert's tick box, list and weight; hidden where there is no such expert."""
    if number >= len(project.experts):
        empty: dict[str, Any] = {"value": None, "label": "", "visible": False}
        return empty | {"value": False}, {"choices": [], "value": None, "visible": False}, empty | {"value": 1.0}
    expert = project.experts[number]
    box = {"value": expert.name in request.experts, "label": expert.title, "visible": True}
    choices = _calibration_choices(project, expert)
    chosen = dict(request.calibration).get(expert.name)
    chosen = chosen if chosen in [value for _, value in choices] else None
    label = f"Calibration data of {expert.title}"
    weight = {"value": dict(request.weights).get(expert.name, 1.0), "label": expert.title, "visible": True}
    return box, {"choices": choices, "value": chosen, "label": label, "visible": bool(choices)}, weight


def _calibration_choices(project: Project, expert: ProjectExpert) -> list[tuple[str, str]]:
    choices = [(domain.title, domain.name) for domain in project.domains]
    return [("Statistics file", FROM_FILE), *choices] if expert.statistics else choices
