"""Merges of some of a recipe's experts: of every two, and of one more each time. Each is a recipe of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations
from typing import Any

from fusion_ui.errors import RecipeError
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.methods import find_method

Names = tuple[str, ...]
"""Experts that are merged, by name."""


def restrict_recipe(recipe: MergeRecipe, names: Collection[str]) -> MergeRecipe:
    """The same merge of some of its experts, in the recipe's order whatever the order of `names`.

    Raises:
        RecipeError: the method cannot merge so many, a rule names an expert that is left out, or no weight is left.
    """
    _check_count(recipe, len(names))
    kept = tuple(expert for expert in recipe.experts if expert.name in names)
    return parse_recipe({**dict(recipe), "experts": kept}, f"The merge of {' and '.join(e.name for e in kept)} alone")


def pair_recipes(recipe: MergeRecipe) -> dict[Names, MergeRecipe]:
    """The merge of every two of a recipe's experts.

    Raises:
        RecipeError: as `restrict_recipe`, or there are no two experts.
    """
    names = [expert.name for expert in recipe.experts]
    if len(names) < 2:
        raise RecipeError("Pairs need at least two experts, and one takes part. Add another.")
    return {pair: restrict_recipe(recipe, pair) for pair in combinations(names, 2)}


def prefix_recipes(recipe: MergeRecipe, order: Any = None) -> dict[Names, MergeRecipe]:
    """The merges of the first expert, the first two and so on to all, each from the experts themselves.

    A method that needs more than one expert begins with as many as it needs.

    Args:
        order: every expert's name once; None: as in the recipe.

    Raises:
        RecipeError: as `restrict_recipe`, or `order` is something else.
    """
    names = [expert.name for expert in recipe.experts]
    order = names if order is None else _check_order(order, names)
    _check_count(recipe, len(order))
    least, _ = find_method(recipe.method).num_experts
    return {tuple(order[:count]): restrict_recipe(recipe, order[:count]) for count in range(least, len(order) + 1)}


def plain_recipe(recipe: MergeRecipe) -> MergeRecipe:
    """The same experts under the simple mean, which takes any number: for what concerns the experts alone."""
    change = {"method": "simple_mean", "parameters": {}, "layer_scaling": None, "rules": ()}
    return recipe.model_copy(update=change)


def _check_count(recipe: MergeRecipe, count: int) -> None:
    if obstacle := find_method(recipe.method).find_obstacle(count, recipe.base is not None):
        raise RecipeError(obstacle)


def _check_order(order: Any, names: Sequence[str]) -> list[str]:
    is_list = isinstance(order, list | tuple) and all(isinstance(name, str) for name in order)
    if not is_list or sorted(order) != sorted(names):
        given = ", ".join(str(name)[:40] for name in order[:20]) if is_list else str(order)[:80]
        raise RecipeError(
            f"The order must name every expert that takes part once: {', '.join(names)}. Got {given or 'none'} instead."
        )
    return list(order)
