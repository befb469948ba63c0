"""The methods to compare, their parameters, and the reference rows."""

from __future__ import annotations

import html
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from fusion_ui.methods import METHODS
from fusion_ui.parameters import declared_parameters
from fusion_ui.ui.controls import parameter_control
from fusion_ui.ui.request import REFERENCES, FuseRequest


@dataclass(frozen=True)
class MethodsPanel:
    """The panel's controls; `parameters` maps (method, parameter) to its control, the main slider's excepted."""

    methods: gr.CheckboxGroup
    references: gr.CheckboxGroup
    parameters: dict[tuple[str, str], Component]


def build_methods_panel(start: FuseRequest, main: tuple[str, str]) -> MethodsPanel:
    """Tick boxes for methods and references; a method's parameters come from its declaration.

    Args:
        main: the (method, parameter) that has its own slider at the top of the page.
    """
    values = {name: dict(parameters) for name, parameters in start.parameters}
    controls = {}
    with gr.Column(elem_classes="card"):
        gr.HTML("<h2>2 · Methods</h2>")
        choices = [(method.title, method.name) for method in METHODS]
        methods = gr.CheckboxGroup(choices, value=list(start.methods), label="Compare", elem_id="methods")
        shown = [(title, key) for key, title in REFERENCES.items()]
        references = gr.CheckboxGroup(shown, value=list(start.references), label="Beside them", elem_id="references")
        with gr.Accordion("Options and formulas", open=False):
            for method in METHODS:
                gr.HTML(_explain(method))
                for name, declared in declared_parameters(method).items():
                    if (method.name, name) != main:
                        controls[method.name, name] = parameter_control(declared, values[method.name][name])
    return MethodsPanel(methods, references, controls)


def _explain(method) -> str:
    paper = f' <a href="{html.escape(method.paper)}" target="_blank" rel="noopener">paper</a>' if method.paper else ""
    return (
        f'<div class="method"><b>{html.escape(method.title)}</b> {html.escape(method.summary())}{paper}'
        f"<code>{html.escape(method.formula)}</code></div>"
    )
