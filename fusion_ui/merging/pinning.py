"""A recipe as it is handed on: hub models by name and commit, and without a path of this machine where it leaves it."""

from __future__ import annotations

import re
from pathlib import Path

from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.recipe import Calibration, MergeRecipe
from fusion_ui.sources.hub_access import is_repository_id

PORTABLE_BASE = "models/base"
"""Where a recipe for others expects a base model that is on no hub."""


def pinned_recipe(plan: MergePlan) -> MergeRecipe:
    """The recipe with every hub model named by its repository and the commit that it meant."""
    experts = tuple(
        entry.model_copy(
            update={"revision": found.revision}
            | ({"model": found.source} if found.revision else {})
            | ({"base": found.base} if found.base else {})
        )
        for entry, found in zip(plan.recipe.experts, plan.experts, strict=True)
    )
    change: dict[str, object] = {"experts": experts}
    if plan.base is not None and plan.base.revision is not None:
        change["base"] = f"{plan.base.source}@{plan.base.revision}"
    return plan.recipe.model_copy(update=change)


def portable_recipe(recipe: MergeRecipe) -> MergeRecipe:
    """The recipe for others: in the place of a path stands where to put that file or folder, beside the recipe.

    A path tells whose machine it was, and leads nowhere on any other.
    """
    experts = []
    for entry in recipe.experts:
        slug = slugify(entry.name)
        change: dict[str, object] = {"model": _name_of(entry.model, f"models/{slug}")}
        if entry.base is not None:
            change["base"] = _name_of(entry.base, f"models/{slug}-base")
        if entry.calibration is not None:
            change["calibration"] = portable_calibration(entry.calibration, slug)
        experts.append(entry.model_copy(update=change))
    base = _name_of(recipe.base, PORTABLE_BASE) if recipe.base is not None else None
    return recipe.model_copy(update={"experts": tuple(experts), "base": base})


def portable_calibration(calibration: Calibration, slug: str) -> Calibration:
    """The same text or statistics, found in a folder beside the recipe."""
    if calibration.data is not None:
        return calibration.model_copy(update={"data": f"calibration/{slug}{Path(calibration.data).suffix}"})
    return calibration.model_copy(update={"statistics": f"calibration/{slug}.safetensors"})


def slugify(text: str) -> str:
    """`text` as a file can be called anywhere; "model" where nothing is left of it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:60].strip(".-_") or "model"


def _name_of(model: str, otherwise: str) -> str:
    """A hub model's name as it is; `otherwise` for what is found on this machine alone."""
    return model if is_repository_id(model.partition("@")[0]) and not Path(model).exists() else otherwise
