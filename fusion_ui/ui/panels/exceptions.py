"""What is merged otherwise than the rest: rules for some parameters, and layers scaled by depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from fusion_ui.merging.groups import GROUPS
from fusion_ui.merging.layer_scaling import LayerScaling
from fusion_ui.parameters import declared_parameters, default_values
from fusion_ui.projects.project import Project
from fusion_ui.ui.controls import parameter_control
from fusion_ui.ui.request import FuseRequest, PageRule, parse_rules

HEADERS = ["Parameters", "Merge", "α"]
NUM_ROWS = 3


@dataclass(frozen=True)
class ExceptionsPanel:
    """The panel's controls: a table of rules, whether layers are scaled, and by what."""

    rules: gr.Dataframe
    is_scaled: gr.Checkbox
    scaling: dict[str, Any]

    @property
    def controls(self) -> list[Any]:
        """In the order that `read_exceptions` takes their values in."""
        return [self.rules, self.is_scaled, *self.scaling.values()]


def build_exceptions_panel(project: Project) -> ExceptionsPanel:
    """Closed at first: nobody needs exceptions to begin with."""
    groups = ", ".join([*GROUPS, "layers 0-2"])
    with gr.Accordion("Exceptions and depth", open=False, elem_id="exceptions", elem_classes="card"):
        gr.HTML(
            f"<p>The first row that fits a parameter decides. Parameters: {groups}, or a pattern of names such as "
            "*.query.weight. Merge: mean, base, or a model's name to keep its own; empty merges as asked, with the α "
            "given here where the method has one.</p>"
        )
        rules = gr.Dataframe(
            **rule_rows(()),
            headers=HEADERS,
            datatype="str",
            type="array",
            interactive=True,
            column_widths=["46%", "34%", "20%"],
            buttons=[],
            max_height=220,
            wrap=True,
            show_label=False,
            elem_id="rules",
        )
        is_scaled = gr.Checkbox(**scaling_box(project), elem_id="is-scaled")
        values = default_values(LayerScaling)
        scaling = {
            name: parameter_control(declared, values[name], elem_id=f"scaling-{name}")
            for name, declared in declared_parameters(LayerScaling).items()
        }
    rules.preprocess = lambda payload: None if payload is None else payload.data  # checked by `parse_rules`
    return ExceptionsPanel(rules, is_scaled, scaling)


def rule_rows(rules: Sequence[PageRule]) -> dict[str, Any]:
    """The table's property for some rules, with room for more."""
    rows = [[rule.parameters, rule.merge, "" if rule.alpha is None else f"{rule.alpha:g}"] for rule in rules]
    return {"value": rows + [[""] * len(HEADERS)] * max(1, NUM_ROWS - len(rows))}


def show_exceptions(request: FuseRequest, project: Project) -> list[Any]:
    """Updates that make the panel's controls say what `request` says."""
    values = default_values(LayerScaling) | dict(request.layer_scaling)
    box = scaling_box(project, bool(request.layer_scaling))
    return [gr.update(**rule_rows(request.rules)), gr.update(**box), *(gr.update(value=v) for v in values.values())]


def scaling_box(project: Project, is_ticked: bool = False) -> dict[str, Any]:
    """Properties of the tick box; it cannot be ticked without a base."""
    label = "Scale updates by depth (LiNeS), after any method"
    reason = "" if project.base else " · needs the base model"
    return {"value": is_ticked, "label": label + reason, "interactive": project.base is not None}


def read_exceptions(values: Sequence[Any]) -> dict[str, Any]:
    """The fields of `FuseRequest` that the panel holds; a control that was never shown stands for its default.

    Raises:
        RecipeError: a row of the table cannot be read.
    """
    rows, is_scaled, *scaling = values
    defaults = default_values(LayerScaling)
    chosen = {n: defaults[n] if v is None else v for n, v in zip(defaults, scaling, strict=True)}
    return {"rules": parse_rules(rows or ()), "layer_scaling": tuple(chosen.items()) if is_scaled else ()}
