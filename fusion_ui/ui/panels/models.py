"""The experts: which take part, and what each is calibrated on."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from fusion_ui.projects.project import Project
from fusion_ui.ui.request import MAX_SENTENCES, FuseRequest


@dataclass(frozen=True)
class ModelsPanel:
    """The panel's controls, in the order of the project's experts."""

    included: tuple[gr.Checkbox, ...]
    calibration: tuple[gr.Dropdown, ...]
    num_examples: gr.Slider


def build_models_panel(project: Project, start: FuseRequest) -> ModelsPanel:
    """One row an expert: take part or not, and whose calibration sentences."""
    choices = [(domain.title, domain.name) for domain in project.domains]
    chosen = dict(start.calibration)
    included, calibration = [], []
    with gr.Column(elem_classes="card"):
        gr.HTML("<h2>1 · Models and their data</h2><p>Untick a model to make its domain out-of-domain.</p>")
        for expert in project.experts:
            with gr.Row(elem_classes="expert"):
                included.append(
                    gr.Checkbox(
                        expert.name in start.experts, label=expert.title, container=False, min_width=120, scale=1
                    )
                )
                calibration.append(
                    gr.Dropdown(
                        choices,
                        value=chosen[expert.name],
                        label=f"Calibration data of {expert.title}",
                        show_label=False,
                        container=False,
                        min_width=120,
                        scale=1,
                    )
                )
        num_examples = gr.Slider(
            8,
            MAX_SENTENCES,
            start.num_examples,
            step=8,
            label="Calibration sentences",
            info="How many sentences of its calibration data each expert reads for its statistics.",
        )
    num_examples.preprocess = lambda payload: payload  # FuseRequest checks it, with one sentence for page and API
    return ModelsPanel(tuple(included), tuple(calibration), num_examples)
