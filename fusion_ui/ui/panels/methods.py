"""The methods to compare, their parameters, the settings pinned beside them, and the reference rows."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from fusion_ui.methods import METHODS, find_method, make_method
from fusion_ui.methods.base import MergeMethod
from fusion_ui.parameters import declared_parameters
from fusion_ui.projects.project import Project
from fusion_ui.ui.explaining import (
    explain_methods,
    explain_pins,
    explain_references,
    explained_parameter,
    explanation,
)
from fusion_ui.ui.request import REFERENCES, FuseRequest, Setting, parse_pins, pin_text

REASON = " · "
"""Stands between a method's title and why it cannot merge what takes part."""


@dataclass(frozen=True)
class MethodsPanel:
    """The panel's controls.

    Attributes:
        about: explains the methods that are compared.
        parameters: (method, parameter) -> its control, the main slider's excepted.
        options: method -> what is shown while the method is compared.
        pins: settings kept side by side, each as `pin_text` writes it.
    """

    methods: gr.Dropdown
    about: gr.HTML
    references: gr.CheckboxGroup
    parameters: dict[tuple[str, str], Component]
    options: dict[str, gr.Column]
    pinned: gr.Dropdown
    pin: gr.Button
    pins: gr.Dropdown


def build_methods_panel(project: Project, start: FuseRequest, main: tuple[str, str]) -> MethodsPanel:
    """A list of methods and references; a method's parameters come from its declaration.

    Args:
        main: the (method, parameter) that has its own slider at the top of the page.
    """
    values = {name: dict(parameters) for name, parameters in start.parameters}
    controls: dict[tuple[str, str], Component] = {}
    options: dict[str, gr.Column] = {}
    with gr.Column(elem_classes="card"):
        gr.HTML("<h2>2 · Methods</h2>")
        with gr.Row(elem_classes="explained"):
            methods = gr.Dropdown(
                method_choices(project, len(start.experts)),
                value=list(start.methods),
                multiselect=True,
                label="Compare",
                elem_id="methods",
            )
            about = explanation("methods", "each of these methods", explain_methods(start.methods))
        shown = [(title, key) for key, title in REFERENCES.items()]
        with gr.Row(elem_classes="explained"):
            references = gr.CheckboxGroup(
                shown, value=list(start.references), label="Beside them", elem_id="references"
            )
            explanation("references", "each of these", explain_references())
        with gr.Accordion("Options and formulas", open=False, elem_id="options"):
            for method in METHODS:
                with gr.Column(visible=method.name in start.methods, elem_classes="method-options") as options[
                    method.name
                ]:
                    gr.HTML(_explain(method))
                    for name, declared in declared_parameters(method).items():
                        if (method.name, name) != main:
                            label = f"{method.name}-{name}".replace("_", "-")
                            value = values[method.name][name]
                            controls[method.name, name] = explained_parameter(method, declared, value, label)
        with gr.Row(equal_height=True, elem_id="pinning", elem_classes="explained"):
            pinned = gr.Dropdown(
                [(find_method(name).title, name) for name in start.methods],
                value=main[0],
                label="Keep as it stands now",
                min_width=140,
                elem_id="pinned-method",
            )
            pin = gr.Button("Pin", size="sm", scale=0, min_width=70, elem_id="pin")
            explanation("pinned-method", "pinning", explain_pins())
        pins = gr.Dropdown([], multiselect=True, label="Pinned, to compare with", visible=False, elem_id="pins")
    checked: list[Any] = [methods, references, pinned, pins]
    for control in checked:  # FuseRequest checks, with one sentence for page and API
        control.preprocess = lambda payload: payload
    return MethodsPanel(methods, about, references, controls, options, pinned, pin, pins)


def method_choices(project: Project, num_experts: int) -> list[tuple[str, str]]:
    """Every method, with the reason beside those that cannot merge so many of this project's experts.

    The page greys what has a reason (assets/page.js).
    """
    reasons = {m: _short_obstacle(m, project, num_experts) for m in METHODS}
    return [(f"{m.title}{REASON}{short}" if short else m.title, m.name) for m, short in reasons.items()]


def follow_methods(chosen: list[str], current: str | None) -> list[Any]:
    """Which options are shown for the chosen methods, in the order of `METHODS`, and which of them can be pinned."""
    chosen = [method.name for method in METHODS if method.name in (chosen or ())]
    choices = [(find_method(name).title, name) for name in chosen]
    kept = current if current in chosen else next(iter(chosen), None)
    return [*(gr.update(visible=method.name in chosen) for method in METHODS), gr.update(choices=choices, value=kept)]


def add_pin(pins: list[str], method: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The list of pins with one more: what the controls say of `method` now.

    Raises:
        RecipeError, ParameterError: there is no such method, or a control holds something that is not allowed.
    """
    return show_pins(parse_pins([*(pins or ()), pin_text(method, parameters)]))


def show_pins(pins: Sequence[Setting]) -> dict[str, Any]:
    """An update that makes the list say these pins; hidden where there are none."""
    described = [make_method(setting.method, dict(setting.parameters)).describe() for setting in pins]
    values = [setting.name.removeprefix("pin ") for setting in pins]
    choices = list(zip(_distinct(described, values), values, strict=True))
    return gr.update(choices=choices, value=values, visible=bool(values))


def _distinct(titles: list[str], values: list[str]) -> list[str]:
    """Titles that tell settings apart: with every parameter where the short form is not enough."""
    return [
        title
        if titles.count(title) == 1
        else f"{title} ({', '.join(f'{k} {v}' for k, v in json.loads(value)['parameters'].items())})"
        for title, value in zip(titles, values, strict=True)
    ]


def _short_obstacle(method: type[MergeMethod], project: Project, num_experts: int) -> str:
    if method.needs_base and project.base is None:
        return "needs the base model"
    least, most = method.num_experts
    if most is not None and least == most and num_experts != most:
        return f"merges {most} models"
    return ""


def _explain(method: type[MergeMethod]) -> str:
    paper = f' <a href="{html.escape(method.paper)}" target="_blank" rel="noopener">paper</a>' if method.paper else ""
    return (
        f'<div class="method"><b>{html.escape(method.title)}</b> {html.escape(method.summary())}{paper}'
        f"<code>{html.escape(method.formula)}</code></div>"
    )
