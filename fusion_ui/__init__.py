"""Fusion UI: merge fine-tuned language models without their training data, and see what it does to every domain.

workspace = Workspace(read_settings())
plan = workspace.plan(read_recipe(Path("recipe.json")))
workspace.export(plan, Path("merged"))
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusion_ui.errors import FusionError
    from fusion_ui.merging.recipe import MergeRecipe, parse_recipe, read_recipe
    from fusion_ui.methods import METHODS
    from fusion_ui.settings import Settings, read_settings
    from fusion_ui.workspace import Workspace

# Read when torch is imported. Threads that wait for work sleep instead of spinning: on a machine that does anything
# else beside (a browser, another visitor's merge), spinning takes the cores from those who would compute.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = [
    "METHODS",
    "FusionError",
    "MergeRecipe",
    "Settings",
    "Workspace",
    "parse_recipe",
    "read_recipe",
    "read_settings",
]

_HOMES = {
    "METHODS": "fusion_ui.methods",
    "FusionError": "fusion_ui.errors",
    "MergeRecipe": "fusion_ui.merging.recipe",
    "Settings": "fusion_ui.settings",
    "Workspace": "fusion_ui.workspace",
    "parse_recipe": "fusion_ui.merging.recipe",
    "read_recipe": "fusion_ui.merging.recipe",
    "read_settings": "fusion_ui.settings",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch and transformers take seconds, `--help` needs neither."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fusion_ui' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
