"""Every knob's explanation comes from its declaration."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr
import pytest

from fusion_ui.methods import METHODS
from fusion_ui.methods.base import MergeMethod
from fusion_ui.parameters import declared_parameters
from fusion_ui.ui.explaining import (
    explain_curve,
    explain_methods,
    explain_parameter,
    explain_pins,
    explain_sentences,
    explain_weights,
    explained_parameter,
)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_parameter_is_explained_with_its_methods_formula_and_paper(method: type[MergeMethod]):
    for declared in declared_parameters(method).values():
        knob, about = explain_parameter(method, declared)
        assert knob["title"] == declared.label and declared.help in knob["text"] and declared.detail in knob["text"]
        assert len(declared.help.split()) >= 8, "a help text that says next to nothing"
        assert about["formula"] == method.formula and about["paper"] == method.paper
        assert about["text"] == method.summary() and about["paper"].startswith("https://")


def test_a_control_keeps_its_own_value_beside_its_explanation():
    method = METHODS[0]
    declared = declared_parameters(method)["alpha"]
    with gr.Blocks():
        control = explained_parameter(method, declared, 0.4, "alpha")
    assert control.elem_id == "alpha" and control.value == 0.4
    assert "0: diagonal only; 1: full Gram." in explain_parameter(method, declared)[0]["text"]


def test_the_compared_methods_are_explained_in_the_order_of_the_list():
    assert [part["title"] for part in explain_methods(["simple_mean", "regmean"])] == ["RegMean", "Simple mean"]
    assert explain_methods(None) == []


@pytest.mark.parametrize("explain", [explain_weights, explain_pins, explain_curve, explain_sentences])
def test_what_is_no_parameter_is_explained_too(explain: Callable[[], list[dict[str, str]]]):
    (part,) = explain()
    assert part["title"] and len(part["text"].split()) >= 15
