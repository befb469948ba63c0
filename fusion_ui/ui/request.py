"""What one visitor's controls say, as one immutable value, and the recipes it stands for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fusion_ui.errors import RecipeError
from fusion_ui.merging.layer_scaling import LayerScaling
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.merging.rules import AS_ASKED, BASE
from fusion_ui.methods import METHODS, find_method, make_method
from fusion_ui.methods.base import MergeMethod
from fusion_ui.parameters import declared_parameters, default_values
from fusion_ui.projects.measures import metric_choices
from fusion_ui.projects.project import FROM_FILE, Project, ProjectDomain, ProjectExpert

MAX_SIDE_BY_SIDE = 12
"""Methods and pinned settings compared at once: each holds a merged model in memory while it is evaluated."""
REFERENCES = {
    "experts": "Experts themselves",
    "ensemble": "Ensemble",
    "multitask": "Multi-task model",
    "guesses": "Chance and majority",
}
DEFAULT_REFERENCES = ("experts", "ensemble", "multitask")
DEFAULT_METHODS = ("regmean", "simple_mean")
MAX_SENTENCES = 400


Values = tuple[tuple[str, Any], ...]
"""A method's parameters with their values."""


@dataclass(frozen=True)
class Setting:
    """One method under one choice of its parameters.

    Attributes:
        name: identifies it among the candidates: the method's name for what the controls say, else a pin's own.
    """

    name: str
    method: str
    parameters: Values


@dataclass(frozen=True)
class PageRule:
    """Parameters that are merged otherwise than the rest, under every method.

    Attributes:
        parameters: a group or a pattern of names.
        merge: "mean", "base" or the name of an expert; empty for as asked.
        alpha: in the place of the method's own, where it has one.
    """

    parameters: str
    merge: str = ""
    alpha: float | None = None

    def describe(self, method: type[MergeMethod]) -> dict[str, Any]:
        """As a recipe of `method` has it."""
        if self.merge:
            return {"parameters": self.parameters, "merge": self.merge}
        has_alpha = self.alpha is not None and "alpha" in declared_parameters(method)
        return {"parameters": self.parameters, "overrides": {"alpha": self.alpha} if has_alpha else {}}


@dataclass(frozen=True)
class FuseRequest:
    """The state of every control.

    Attributes:
        experts: names of the experts in the merge.
        calibration: expert name -> domain whose calibration split its statistics are measured on.
        num_examples: sentences for statistics, at most.
        methods: names of the methods to compare.
        references: keys of `REFERENCES` to show.
        parameters: method name -> its parameters.
        is_from_zero: bars from zero instead of points on a cut axis.
        pins: settings kept beside those of the controls.
        weights: expert name -> its coefficient; 1 where nothing is said.
        rules: what is merged otherwise than the rest; the first that fits decides.
        layer_scaling: parameters of the step after every method that scales updates by depth; empty without it.
        metric: what all domains that can be are scored by; empty for each domain's own.
    """

    experts: tuple[str, ...]
    calibration: tuple[tuple[str, str], ...]
    num_examples: int
    methods: tuple[str, ...]
    references: tuple[str, ...]
    parameters: tuple[tuple[str, Values], ...]
    is_from_zero: bool = False
    pins: tuple[Setting, ...] = ()
    weights: tuple[tuple[str, float], ...] = ()
    rules: tuple[PageRule, ...] = ()
    layer_scaling: Values = ()
    metric: str = ""

    @property
    def settings(self) -> tuple[Setting, ...]:
        """What is to be compared: the methods under the controls' values, then the pins that differ from them."""
        values = dict(self.parameters)
        own = [Setting(method, method, values.get(method, ())) for method in self.methods]
        shown = {(setting.method, setting.parameters) for setting in own}
        return (*own, *(pin for pin in self.pins if (pin.method, pin.parameters) not in shown))

    def recipe(self, project: Project, method: str, parameters: Values | None = None) -> MergeRecipe:
        """The merge that these controls ask of one method.

        Args:
            parameters: in the place of what the controls say of the method.

        Raises:
            RecipeError, ParameterError: a control holds something that is not allowed.
        """
        kind = find_method(method)
        domains = {domain.name: domain for domain in project.domains}
        experts = {expert.name: expert for expert in project.experts}
        calibration, weights = dict(self.calibration), dict(self.weights)
        if not self.experts:
            raise RecipeError("No expert is ticked. Tick at least one under Models.")
        for name in self.experts:
            if name not in experts:
                raise RecipeError(f"There is no expert {str(name)[:40]!r} in this project.")
            known = {*domains, FROM_FILE} if experts[name].statistics else {*domains}
            if not isinstance(calibration.get(name), str) or calibration[name] not in known:
                raise RecipeError(
                    f"There is no calibration data {str(calibration.get(name))[:40]!r} for {name} in this project."
                )
        if not isinstance(self.num_examples, int) or not 1 <= self.num_examples <= MAX_SENTENCES:
            raise RecipeError(f"The number of sentences must be a whole number from 1 to {MAX_SENTENCES}.")
        return parse_recipe(
            {
                "method": method,
                "parameters": dict(dict(self.parameters).get(method, ()) if parameters is None else parameters),
                "experts": [
                    {
                        "name": name,
                        "model": str(experts[name].model),
                        "labels": dict(experts[name].labels),
                        "weight": weights.get(name, 1.0),
                        "calibration": _calibration(experts[name], domains.get(calibration[name])),
                    }
                    for name in self.experts
                ],
                "statistics": {"num_examples": self.num_examples},
                "heads": project.heads,
                "rules": [rule.describe(kind) for rule in self.rules],
                "layer_scaling": dict(self.layer_scaling) or None,
                # Only where it counts: numbers of other methods stay known when a base is named.
                "base": str(project.base) if project.base and self._needs_base(kind) else None,
            },
            "These settings",
        )

    def _needs_base(self, method: type[MergeMethod]) -> bool:
        return method.needs_base or bool(self.layer_scaling) or any(rule.merge == BASE for rule in self.rules)

    def check(self, project: Project) -> None:
        """Raise a `FusionError` unless every control holds something allowed."""
        if len(self.settings) > MAX_SIDE_BY_SIDE:
            raise RecipeError(
                f"{len(self.settings)} methods and settings are to be compared, and {MAX_SIDE_BY_SIDE} is the most. "
                "Take some away."
            )
        if self.layer_scaling and project.base is None:
            raise RecipeError(LayerScaling.find_obstacle((), has_base=False))
        for setting in self.settings or (Setting("simple_mean", "simple_mean", ()),):
            method = find_method(setting.method)
            self.recipe(project, method.name, setting.parameters)
            if obstacle := method.find_obstacle(len(self.experts), project.base is not None):
                raise RecipeError(obstacle)
        if self.metric and self.metric not in [name for _, name in metric_choices(project)]:
            raise RecipeError(f"There is no metric {str(self.metric)[:40]!r} for the models of this project.")
        for reference in self.references:
            if reference not in REFERENCES:
                raise RecipeError(f"There is no reference {str(reference)[:40]!r}.")


def pin_text(method: str, parameters: Mapping[str, Any]) -> str:
    """A setting as the page keeps it in its list of pins."""
    return json.dumps({"method": method, "parameters": dict(parameters)}, sort_keys=True)


def parse_pins(texts: Any) -> tuple[Setting, ...]:
    """The pins of the page's list, in order and each once.

    Raises:
        RecipeError, ParameterError: a text is no setting of a method.
    """
    pins: dict[str, Setting] = {}
    for text in texts if isinstance(texts, Sequence) and not isinstance(texts, str) else [texts]:
        try:
            value = json.loads(text)
            method, parameters = str(value["method"]), {**value["parameters"]}
        except (TypeError, ValueError, KeyError, RecursionError):
            raise RecipeError(f"{str(text)[:80]!r} is no setting of a method. Pin it again.") from None
        values = default_values(find_method(method)) | parameters
        make_method(method, values)
        name = f"pin {pin_text(method, values)}"
        pins[name] = Setting(name, method, tuple(values.items()))
    return tuple(pins.values())


def parse_rules(rows: Sequence[Sequence[Any]]) -> tuple[PageRule, ...]:
    """Rules from the rows of a table: parameters, merge, alpha. Empty rows are left out.

    Raises:
        RecipeError: a row is no rule.
    """
    rules = []
    for row in rows:
        cells = [str("" if cell is None else cell).strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != 3 or not cells[0]:
            raise RecipeError(f"A row of the exceptions says {' '.join(cells)[:80]!r} and names no parameters.")
        parameters, merge, alpha = cells
        if merge and alpha:
            raise RecipeError(f"The exception for {parameters[:40]!r} says both {merge[:40]!r} and an α. Empty one.")
        try:
            value = float(alpha.replace(",", ".")) if alpha else None
        except ValueError:
            raise RecipeError(f"The α for {parameters[:40]!r} must be a number. Got {alpha[:40]!r} instead.") from None
        rules.append(PageRule(parameters, "" if merge.casefold() == AS_ASKED else merge, value))
    return tuple(rules)


def _calibration(expert: ProjectExpert, domain: ProjectDomain | None) -> dict[str, str | None]:
    return (
        {"data": str(domain.calibrate), "pair_column": domain.pair_column}
        if domain
        else {"statistics": str(expert.statistics)}
    )


def default_calibration(project: Project, expert: ProjectExpert) -> str:
    """What an expert is calibrated on at first: its file, its own domain, or any."""
    if expert.statistics:
        return FROM_FILE
    return expert.domain or next((domain.name for domain in project.domains), "")


def renew_request(request: FuseRequest, project: Project) -> FuseRequest:
    """The same settings for another project, or another state of it: its experts, on their own data.

    What is asked next never depends on what a browser shows at that moment, which may still be the old project.
    """
    start, metric = default_request(project), request.metric
    if metric and metric not in [name for _, name in metric_choices(project)]:
        metric = ""
    methods = tuple(
        name
        for name in request.methods
        if not find_method(name).find_obstacle(max(1, len(start.experts)), project.base is not None)
    )
    return replace(
        request,
        experts=start.experts,
        calibration=start.calibration,
        methods=methods or start.methods,
        weights=(),
        rules=(),
        layer_scaling=(),
        metric=metric,
    )


def default_request(project: Project) -> FuseRequest:
    """What the page shows first."""
    parameters: Mapping[str, tuple] = {m.name: tuple(default_values(m).items()) for m in METHODS}
    return FuseRequest(
        experts=tuple(expert.name for expert in project.experts),
        calibration=tuple((expert.name, default_calibration(project, expert)) for expert in project.experts),
        num_examples=256,
        methods=DEFAULT_METHODS,
        references=DEFAULT_REFERENCES,
        parameters=tuple(parameters.items()),
    )
