"""Recipes written for mergekit say what was measured to agree with it, or why they cannot be written."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from benchmarks.peers import CASES, Case
from fusion_ui.errors import FusionError
from fusion_ui.merging.mergekit import PEERS, mergekit_config, mergekit_yaml
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.methods import METHODS

COMMIT = "a" * 40


def make_recipe(method: str, weights: tuple[float, ...] = (1, 1, 1), **change: Any) -> MergeRecipe:
    experts = [
        {"name": f"e{i}", "model": f"expert{i}", "weight": weight, "revision": COMMIT if i == 0 else None}
        for i, weight in enumerate(weights)
    ]
    return parse_recipe({"method": method, "base": "base", "experts": experts} | change)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method} {case.parameters}")
def test_parameters_are_those_that_were_measured_to_agree(case: Case):
    recipe = make_recipe(case.method, case.weights, parameters=case.parameters)
    config, job = mergekit_config(recipe), case.job
    base = config.get("base_model")
    assert config["merge_method"] == case.peer and (base and base.partition("@")[0]) == case.base
    if not case.takes_weights:
        assert not any("parameters" in entry for entry in config["models"])
        assert config.get("parameters", {}) == pytest.approx(job["parameters"])
        return
    weights = {entry["model"].partition("@")[0]: entry["parameters"]["weight"] for entry in config["models"]}
    assert weights == pytest.approx(job["parameters"].pop("weight"))
    defaults = {"lambda": 1.0}
    if case.method == "della" and case.parameters["density"] == 1:
        defaults["epsilon"] = 0
    if case.method in ("task_arithmetic", "dare", "breadcrumbs"):  # our default is theirs of the row, or is given
        defaults = {"lambda": case.job["parameters"].get("lambda", 1.0)}
    assert config["parameters"] == pytest.approx(defaults | job["parameters"])


def test_methods_without_a_parameter_of_their_own():
    mean = mergekit_config(make_recipe("simple_mean", (1, 3)))
    assert mean["merge_method"] == "linear" and "base_model" not in mean
    assert [entry["model"] for entry in mean["models"]] == [f"expert0@{COMMIT}", "expert1"]
    shares = [entry["parameters"]["weight"] for entry in mean["models"]]
    assert shares[1] == pytest.approx(3 * shares[0])
    slerp = mergekit_config(make_recipe("slerp", (1, 3)))
    assert slerp["base_model"] == f"expert0@{COMMIT}" and slerp["parameters"] == {"t": 0.75}
    assert mergekit_config(make_recipe("model_stock"))["models"] == [
        {"model": f"expert0@{COMMIT}"},
        {"model": "expert1"},
        {"model": "expert2"},
    ]
    # mergekit refuses a window that reaches chances of 0 or 1.
    della = mergekit_config(make_recipe("della", parameters={"density": 0.7, "window": 1}))["parameters"]
    assert della["density"] + della["epsilon"] < 1 and della["epsilon"] == pytest.approx(0.3)


def test_a_file_is_yaml_with_its_remarks():
    text = mergekit_yaml(make_recipe("ties"))
    assert text.startswith("# For mergekit 0.1.5") and "# Of entries of the same size" in text
    assert yaml.safe_load(text) == mergekit_config(make_recipe("ties"))


@pytest.mark.parametrize("method", [m.name for m in METHODS if m.name not in PEERS])
def test_what_mergekit_does_not_have_is_said(method: str):
    with pytest.raises(FusionError, match=r"mergekit 0\.1\.5 does not have .* it has: Simple mean, "):
        mergekit_config(make_recipe(method))


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (make_recipe("ties", rules=[{"parameters": "*", "merge": "mean"}]), "no rules for single parameters"),
        (make_recipe("ties", layer_scaling={"shallow": 0.5}), "no scaling by layer"),
        (make_recipe("simple_mean", heads="own"), "no heads of different labels"),
        (make_recipe("karcher", (1, 2)), "no weights for the experts of its karcher"),
        (make_recipe("slerp"), "SLERP merges 2 experts, and 3 take part"),
    ],
)
def test_what_a_configuration_cannot_say_is_refused(recipe: MergeRecipe, words: str):
    with pytest.raises(FusionError, match=words):
        mergekit_config(recipe)
