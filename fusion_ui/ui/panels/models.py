"""The experts: which take part, and what each is calibrated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from fusion_ui.projects.building import MAX_EXPERTS
from fusion_ui.projects.project import FROM_FILE, Project, ProjectExpert
from fusion_ui.ui.request import MAX_SENTENCES, FuseRequest


@dataclass(frozen=True)
class ModelsPanel:
    """The panel's controls: one row for each expert that there is room for, in the order of the project's experts."""

    included: tuple[gr.Checkbox, ...]
    calibration: tuple[gr.Dropdown, ...]
    num_examples: gr.Slider


def build_models_panel(project: Project, start: FuseRequest) -> ModelsPanel:
    """One row an expert: take part or not, and whose calibration sentences."""
    included, calibration = [], []
    with gr.Column(elem_classes="card"):
        gr.HTML("<h2>1 · Models and their data</h2><p>Untick a model to make its domain out-of-domain.</p>")
        for number in range(MAX_EXPERTS):
            box, choice = row_values(project, start, number)
            with gr.Row(elem_classes="expert"):
                included.append(gr.Checkbox(**box, container=False, min_width=120, scale=1))
                calibration.append(gr.Dropdown(**choice, show_label=False, container=False, min_width=120, scale=1))
        num_examples = gr.Slider(
            8,
            MAX_SENTENCES,
            start.num_examples,
            step=8,
            label="Calibration sentences",
            info="How many sentences of its calibration data each expert reads for its statistics.",
        )
    for control in (num_examples, *calibration):  # FuseRequest checks, with one sentence for page and API
        control.preprocess = lambda payload: payload
    return ModelsPanel(tuple(included), tuple(calibration), num_examples)


def row_values(project: Project, request: FuseRequest, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the tick box and the list of one row show, as their properties; hidden where there is no such expert."""
    if number >= len(project.experts):
        return {"value": False, "label": "", "visible": False}, {"choices": [], "value": None, "visible": False}
    expert = project.experts[number]
    box = {"value": expert.name in request.experts, "label": expert.title, "visible": True}
    choices = _calibration_choices(project, expert)
    chosen = dict(request.calibration).get(expert.name)
    chosen = chosen if chosen in [value for _, value in choices] else None
    label = f"Calibration data of {expert.title}"
    return box, {"choices": choices, "value": chosen, "label": label, "visible": bool(choices)}


def _calibration_choices(project: Project, expert: ProjectExpert) -> list[tuple[str, str]]:
    choices = [(domain.title, domain.name) for domain in project.domains]
    return [("Statistics file", FROM_FILE), *choices] if expert.statistics else choices
