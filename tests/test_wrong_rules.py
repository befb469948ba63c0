"""Rules that are refused before anything is looked for."""

from __future__ import annotations

from typing import Any

import pytest
from test_recipe import expert as entry
from test_recipe import recipe as values

from fusion_ui.errors import FusionError, ParameterError, RecipeError
from fusion_ui.merging.recipe import parse_recipe

WRONG: dict[str, tuple[dict[str, Any], type[FusionError], str]] = {
    "no such expert": (
        {"merge": "twets"},
        RecipeError,
        "The rule for 'head' must say one of 'as asked', 'mean', 'base', 'a', 'b'. Got 'twets' instead.",
    ),
    "no base": ({"merge": "base"}, RecipeError, "The rule for 'head' keeps the base model, but the recipe names none."),
    "both": ({"merge": "mean", "overrides": {"alpha": 0}}, RecipeError, "Leave out 'overrides' or 'merge'"),
    "unknown parameter": ({"overrides": {"beta": 1}}, ParameterError, "RegMean has no parameter 'beta'"),
    "wrong value": (
        {"overrides": {"alpha": 2}},
        ParameterError,
        "The 'alpha' parameter of RegMean must be a number in [0, 1]. Got 2 instead.",
    ),
    "unknown key": ({"alpha": 0.5}, RecipeError, "rules.0.alpha: Extra inputs are not permitted"),
    "no pattern": ({"parameters": ""}, RecipeError, "rules.0.parameters"),
}


@pytest.mark.parametrize(("rule", "kind", "message"), WRONG.values(), ids=WRONG)
def test_wrong_rules_are_refused_before_anything_is_found(rule: dict[str, Any], kind: type[FusionError], message: str):
    with pytest.raises(kind) as error:
        parse_recipe(values(rules=[{"parameters": "head"} | rule]))
    assert message in str(error.value)


def test_an_expert_called_like_a_rules_word_is_ambiguous():
    parse_recipe(values(experts=[entry("mean"), entry("b")]))  # without a rule it may be called anything
    with pytest.raises(RecipeError, match="says 'mean', which is also the name of an expert"):
        parse_recipe(values(experts=[entry("mean"), entry("b")], rules=[{"parameters": "head", "merge": "mean"}]))
