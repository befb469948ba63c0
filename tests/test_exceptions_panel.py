"""Exceptions and depth on the page: from cells and sliders to recipes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fusion_ui.errors import FusionError, RecipeError
from fusion_ui.ui.panels.exceptions import read_exceptions, rule_rows, scaling_box
from fusion_ui.ui.request import PageRule, default_request, parse_rules, renew_request


def test_rows_become_rules_in_their_order_and_empty_ones_nothing():
    rows = [["attention", "mean", ""], ["", " ", None], [" layers 0-2 ", "", "0,5"], ["ffn", "As asked", ""]]
    rules = (PageRule("attention", "mean"), PageRule("layers 0-2", "", 0.5), PageRule("ffn"))
    assert parse_rules(rows) == rules
    assert parse_rules(rule_rows(rules)["value"]) == rules
    assert len(rule_rows(rules)["value"]) == 4, "there is room for one more"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["", "mean", ""], "names no parameters"),
        (["ffn", "mean", "0.5"], "says both 'mean' and an α"),
        (["ffn", "", "much"], "must be a number. Got 'much'"),
        (["ffn"], "names no parameters"),
    ],
)
def test_a_row_that_is_no_rule_is_named(row, message):
    with pytest.raises(RecipeError, match=message):
        parse_rules([row])


def test_every_method_gets_the_rules_and_only_those_with_alpha_get_alpha(demo):
    rules = (PageRule("head", "movies"), PageRule("ffn", "", 0.3), PageRule("norms", "base"))
    request = replace(default_request(demo), rules=rules, methods=("regmean", "simple_mean"))
    request.check(demo)
    regmean, simple = (request.recipe(demo, name) for name in request.methods)
    assert [rule.effect for rule in regmean.rules] == ["kept movies", "alpha = 0.3", "kept the base"]
    assert [rule.effect for rule in simple.rules] == ["kept movies", "as asked", "kept the base"]
    assert regmean.base == simple.base == str(demo.base)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (PageRule("ffn", "nobody"), "'nobody'"),
        (PageRule("ffn", "", 1.5), "must be a number in"),
        (PageRule("", ""), "1 char"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_before_anything_is_merged(demo, rule, message):
    with pytest.raises(FusionError, match=message):
        replace(default_request(demo), rules=(rule,)).check(demo)


def test_depth_is_scaled_for_every_method_and_brings_the_base(demo):
    chosen = read_exceptions([[], True, 0.4, None])
    assert chosen == {"rules": (), "layer_scaling": (("shallow", 0.4), ("deep", 1.0))}
    recipe = replace(default_request(demo), **chosen).recipe(demo, "simple_mean")
    assert recipe.layer_scaling == {"shallow": 0.4, "deep": 1.0} and recipe.base == str(demo.base)
    assert read_exceptions([None, False, 0.4, 1.0]) == {"rules": (), "layer_scaling": ()}


def test_without_a_base_depth_cannot_be_ticked_and_is_refused_with_the_reason(demo):
    headless = replace(demo, base=None)
    assert not scaling_box(headless)["interactive"] and "needs the base" in scaling_box(headless)["label"]
    request = replace(default_request(headless), layer_scaling=(("shallow", 0.4), ("deep", 1.0)))
    with pytest.raises(RecipeError, match="needs the base model"):
        request.check(headless)


def test_another_project_starts_without_exceptions(demo):
    request = replace(default_request(demo), rules=(PageRule("head", "movies"),), layer_scaling=(("deep", 1.0),))
    assert renew_request(request, demo) == default_request(demo)
