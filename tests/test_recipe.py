"""Recipes: what is refused and with which words, how paths are resolved, and what a change makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fusion_ui.errors import FusionError, ParameterError, RecipeError
from fusion_ui.merging.recipe import parse_recipe, read_recipe


def expert(name: str = "a", **change: Any) -> dict[str, Any]:
    return {"name": name, "model": f"models/{name}", "calibration": {"data": f"{name}.csv"}} | change


def recipe(**change: Any) -> dict[str, Any]:
    return {"method": "regmean", "parameters": {"alpha": 0.5}, "experts": [expert("a"), expert("b")]} | change


WRONG: dict[str, tuple[Any, type[FusionError], str]] = {
    "no experts": (recipe(experts=[]), RecipeError, "experts: a merge needs at least one expert"),
    "experts missing": ({"method": "regmean"}, RecipeError, "experts: Field required"),
    "method missing": ({"experts": [expert()]}, RecipeError, "method: Field required"),
    "unknown method": (recipe(method="magic"), ParameterError, "no merge method 'magic'. Choose one of: regmean"),
    "alpha 2": (
        recipe(parameters={"alpha": 2}),
        ParameterError,
        "The 'alpha' parameter of RegMean must be a number in [0, 1]. Got 2 instead.",
    ),
    "alpha abc": (
        recipe(parameters={"alpha": "abc"}),
        ParameterError,
        "must be a number in [0, 1]. Got 'abc' instead.",
    ),
    "alpha NaN": (recipe(parameters={"alpha": float("nan")}), ParameterError, "number in [0, 1]. Got nan instead."),
    "unknown parameter": (recipe(parameters={"alhpa": 1}), ParameterError, "no parameter 'alhpa'. It has: 'alpha'"),
    "unknown key": (recipe(colour="red"), RecipeError, "colour: Extra inputs are not permitted"),
    "unknown key of an expert": (recipe(experts=[expert(wieght=2)]), RecipeError, "experts.0.wieght: Extra inputs"),
    "duplicate names": (recipe(experts=[expert(), expert()]), RecipeError, "two experts have the same name"),
    "no name": (recipe(experts=[expert("")]), RecipeError, "experts.0.name"),
    "both data and statistics": (
        recipe(experts=[expert(calibration={"data": "a.csv", "statistics": "a.safetensors"})]),
        RecipeError,
        "experts.0.calibration: give either 'data' or 'statistics'",
    ),
    "neither data nor statistics": (recipe(experts=[expert(calibration={})]), RecipeError, "give either 'data' or"),
    "all weights 0": (recipe(experts=[expert(weight=0)]), RecipeError, "needs a weight above 0"),
    "negative weight": (recipe(experts=[expert(weight=-1)]), RecipeError, "experts.0.weight"),
    "infinite weight": (recipe(experts=[expert(weight=float("inf"))]), RecipeError, "experts.0.weight"),
    "NaN weight": (recipe(experts=[expert(weight=float("nan"))]), RecipeError, "experts.0.weight"),
    "no examples": (recipe(statistics={"num_examples": 0}), RecipeError, "statistics.num_examples"),
    "a list": ([], RecipeError, "the whole: Input should be"),
    "null": (None, RecipeError, "the whole: Input should be"),
}


@pytest.mark.parametrize(("value", "kind", "message"), WRONG.values(), ids=WRONG)
def test_wrong_recipes_are_refused_with_what_and_where(
    value: Any, kind: type[FusionError], message: str, tmp_path: Path
):
    with pytest.raises(kind) as error:
        parse_recipe(value)
    assert message in str(error.value)
    # The same from a file: what JSON can write, NaN included, must not get further.
    (tmp_path / "recipe.json").write_text(json.dumps(value))
    with pytest.raises(kind) as error:
        read_recipe(tmp_path / "recipe.json")
    assert message in str(error.value)


def test_a_file_that_is_missing_or_no_json_is_refused(tmp_path: Path):
    broken, binary = tmp_path / "broken.json", tmp_path / "binary.json"
    broken.write_text('{"method": "regmean",')
    binary.write_bytes(b"\xff\xfe\x00\x80")
    for path, message in (
        (tmp_path / "none.json", "cannot be read. Check the path"),
        (tmp_path, "cannot be read. Check the path"),
        (broken, "is not valid JSON"),
        (binary, "is not valid JSON"),
    ):
        with pytest.raises(RecipeError, match=message) as error:
            read_recipe(path)
        assert str(path) in str(error.value)


def test_relative_paths_are_relative_to_the_file_and_hub_names_stay(tmp_path: Path):
    (tmp_path / "models" / "a").mkdir(parents=True)
    (tmp_path / "base").mkdir()
    experts = [
        expert("a"),
        expert("b", model="owner/name", calibration={"statistics": "../b.safetensors"}),
        expert("c", model="/elsewhere/c", calibration={"data": "/elsewhere/c.csv"}),
        expert("d", calibration=None),
    ]
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe(experts=experts, base="base")))
    found = read_recipe(path)
    assert found.base == str(tmp_path / "base")
    assert [e.model for e in found.experts] == [
        str(tmp_path / "models" / "a"),
        "owner/name",
        "/elsewhere/c",
        "models/d",
    ]
    calibration = [e.calibration for e in found.experts]
    assert calibration[0].data == str(tmp_path / "a.csv")
    assert Path(calibration[1].statistics).resolve() == tmp_path.parent.resolve() / "b.safetensors"
    assert calibration[2].data == "/elsewhere/c.csv"
    assert calibration[3] is None


@given(weights=st.lists(st.floats(0, 1e6), min_size=1, max_size=5).filter(lambda values: sum(values) > 0))
def test_weights_are_normalised(weights: list[float]):
    found = parse_recipe(recipe(experts=[expert(f"e{i}", weight=w) for i, w in enumerate(weights)]))
    assert sum(found.weights) == pytest.approx(1, abs=1e-12)
    assert found.weights == pytest.approx([w / sum(weights) for w in weights])


def test_a_recipe_is_frozen_and_a_change_makes_a_new_one():
    found = parse_recipe(recipe())
    changed = found.with_parameters(alpha=0.1)
    assert (found.make_method().alpha, changed.make_method().alpha) == (0.5, 0.1)
    assert changed.experts == found.experts
    with pytest.raises(ValidationError, match="frozen"):
        found.method = "simple_mean"


def test_a_recipe_survives_json():
    found = parse_recipe(recipe(base="base", statistics={"num_examples": 7, "seed": 3}))
    assert parse_recipe(json.loads(found.model_dump_json())) == found
