"""The recipe of a merge: what the page, the command line, the API and every test build and hand on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fusion_ui.errors import RecipeError
from fusion_ui.merging.labels import Heads
from fusion_ui.merging.layer_scaling import TITLE, LayerScaling
from fusion_ui.merging.rules import Rule, check_rules
from fusion_ui.methods import make_method
from fusion_ui.methods.base import MergeMethod
from fusion_ui.parameters import check_values
from fusion_ui.sources.local import is_directory
from fusion_ui.statistics.statistic import StatisticSettings


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Calibration(_Part):
    """Text of an expert's own domain, or a statistics file in its place."""

    data: str | None = None
    text_column: str = "text"
    pair_column: str | None = None
    """The second text of each example, where the model judges pairs of sentences."""
    label_column: str | None = "label"
    statistics: str | None = None

    @model_validator(mode="after")
    def _has_exactly_one(self) -> Calibration:
        if (self.data is None) == (self.statistics is None):
            raise ValueError("give either 'data' or 'statistics'")
        return self


class Expert(_Part):
    """One fine-tuned model and its part in the merge."""

    name: str = Field(min_length=1, max_length=80)
    model: str = Field(min_length=1)
    revision: str | None = None
    weight: float = Field(default=1.0, ge=0)
    calibration: Calibration | None = None
    base: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """What an adapter is folded into, where it is neither the recipe's base nor the newest of the one it names."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Other names for labels of this model: {"LABEL_0": "negative"}."""


class StatisticChoice(_Part):
    """How statistics are measured where data is given."""

    num_examples: int = Field(default=256, ge=1, le=100_000)
    seed: int = 0
    count_padding: bool = False

    @property
    def settings(self) -> StatisticSettings:
        """The same as the statistics know it."""
        return StatisticSettings(self.num_examples, self.seed, self.count_padding)


class MergeRecipe(_Part):
    """Everything that decides a merged model. Immutable; a change makes a new one."""

    method: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    base: str | None = None
    experts: tuple[Expert, ...]
    statistics: StatisticChoice = StatisticChoice()
    heads: Heads | None = None
    """What becomes of heads whose labels differ; None refuses to guess."""
    layer_scaling: dict[str, Any] | None = Field(default=None, exclude_if=lambda value: value is None)
    """Parameters of the step after the method that scales updates by depth (LiNeS); None leaves the step out."""
    rules: tuple[Rule, ...] = Field(default=(), max_length=64)
    """What is merged otherwise than the rest; the first rule that matches a parameter decides."""

    @field_validator("experts")
    @classmethod
    def _has_experts(cls, experts: tuple[Expert, ...]) -> tuple[Expert, ...]:
        if not experts:
            raise ValueError("a merge needs at least one expert")
        names = [expert.name for expert in experts]
        if len(set(names)) < len(names):
            raise ValueError("two experts have the same name")
        if sum(expert.weight for expert in experts) <= 0:
            raise ValueError("at least one expert needs a weight above 0")
        return experts

    def make_method(self) -> MergeMethod:
        """The method with its parameters checked, in the rules too."""
        names = [expert.name for expert in self.experts]
        check_rules(self.rules, names, self.base is not None, self.method, self.parameters)
        return make_method(self.method, self.parameters)

    def make_layer_scaling(self) -> LayerScaling | None:
        """The step after the method with its parameters checked; None where the recipe has none."""
        if self.layer_scaling is None:
            return None
        check_values(LayerScaling, TITLE, self.layer_scaling)
        return LayerScaling(**self.layer_scaling)

    @property
    def weights(self) -> tuple[float, ...]:
        """Coefficients c_i, summing to one."""
        total = sum(expert.weight for expert in self.experts)
        return tuple(expert.weight / total for expert in self.experts)

    def with_parameters(self, **parameters: Any) -> MergeRecipe:
        """The same merge with some of the method's parameters replaced."""
        return self.model_copy(update={"parameters": {**self.parameters, **parameters}})

    def with_layer_scaling(self, **parameters: Any) -> MergeRecipe:
        """The same merge with layer scaling, some of whose parameters are replaced."""
        return self.model_copy(update={"layer_scaling": {**(self.layer_scaling or {}), **parameters}})


def parse_recipe(value: Any, where: str = "The recipe") -> MergeRecipe:
    """A recipe from JSON values, with its method and parameters checked.

    Raises:
        RecipeError: a key is missing, unknown or wrong; the message names each.
        ParameterError: the method or one of its parameters is wrong.
    """
    try:
        recipe = MergeRecipe.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors()[:5])
        raise RecipeError(f"{where} cannot be used: {problems}. Correct it and try again.") from None
    recipe.make_method()
    recipe.make_layer_scaling()
    return recipe


def read_recipe(path: Path) -> MergeRecipe:
    """A recipe from a JSON file. Relative paths in it are relative to the file.

    Raises:
        RecipeError, ParameterError: as `parse_recipe`, or the file cannot be read.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise RecipeError(f"The recipe {path} cannot be read. Check the path.") from None
    except ValueError as error:
        raise RecipeError(f"The recipe {path} is not valid JSON: {error}.") from None
    recipe = parse_recipe(value, f"The recipe {path}")
    return _resolve_paths(recipe, path.resolve().parent)


def _resolve_paths(recipe: MergeRecipe, root: Path) -> MergeRecipe:
    """Relative paths made absolute; a model that is no directory stays as it is, perhaps an ``owner/name``."""

    def model(text: str) -> str:
        return str(root / text) if is_directory(root / text) else text

    def expert(entry: Expert) -> Expert:
        change: dict[str, Any] = {"model": model(entry.model), "base": entry.base and model(entry.base)}
        if entry.calibration:
            names = ("data", "statistics")
            paths = {n: str(root / v) for n in names if (v := getattr(entry.calibration, n)) is not None}
            change["calibration"] = entry.calibration.model_copy(update=paths)
        return entry.model_copy(update=change)

    change: dict[str, Any] = {"experts": tuple(map(expert, recipe.experts))}
    if recipe.base is not None:
        change["base"] = model(recipe.base)
    return recipe.model_copy(update=change)


def _describe(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "the whole"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
