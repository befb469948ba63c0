"""A state of the controls as JSON values, for links and for the history, and back: checked like everything else."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from fusion_ui.errors import RecipeError
from fusion_ui.merging.layer_scaling import LayerScaling
from fusion_ui.methods import METHODS, find_method, make_method
from fusion_ui.parameters import default_values
from fusion_ui.projects.building import MAX_EXPERTS
from fusion_ui.projects.project import FROM_FILE, Project
from fusion_ui.ui.panels.models import MAX_WEIGHT
from fusion_ui.ui.request import (
    MAX_SIDE_BY_SIDE,
    FuseRequest,
    PageRule,
    Setting,
    Values,
    default_calibration,
    parse_pins,
    pin_text,
)

Name = Annotated[str, StringConstraints(max_length=100)]
Parameters = Annotated[dict[Name, bool | int | float | Name], Field(max_length=20)]


class _Pin(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    method: Name
    parameters: Parameters = {}


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    parameters: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    merge: Name = ""
    alpha: float | None = None


class WrittenRequest(BaseModel):
    """The form of a written state: names and numbers only, few of each. What is left out is as at first."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    experts: list[Name] = Field(max_length=MAX_EXPERTS)
    calibration: dict[Name, Name] = Field(default={}, max_length=MAX_EXPERTS)
    num_examples: int
    methods: list[Name] = Field(max_length=MAX_SIDE_BY_SIDE)
    references: list[Name] = Field(default=[], max_length=MAX_SIDE_BY_SIDE)
    parameters: dict[Name, Parameters] = Field(default={}, max_length=2 * len(METHODS))
    is_from_zero: bool = False
    pins: list[_Pin] = Field(default=[], max_length=MAX_SIDE_BY_SIDE)
    weights: dict[Name, Annotated[float, Field(ge=0, le=MAX_WEIGHT)]] = Field(default={}, max_length=MAX_EXPERTS)
    rules: list[_Rule] = Field(default=[], max_length=64)
    metric: Name = ""
    layer_scaling: dict[Name, float] = Field(default={}, max_length=len(default_values(LayerScaling)))


def describe_request(request: FuseRequest) -> dict[str, Any]:
    """The state as JSON values; parameters only where they are not the defaults."""
    parameters = {method: _changed(method, values) for method, values in request.parameters}
    return {
        "experts": list(request.experts),
        "calibration": {name: domain for name, domain in request.calibration if domain},
        "num_examples": request.num_examples,
        "methods": list(request.methods),
        "references": list(request.references),
        "parameters": {method: values for method, values in parameters.items() if values},
        "is_from_zero": request.is_from_zero,
        "pins": [{"method": pin.method, "parameters": _changed(pin.method, pin.parameters)} for pin in request.pins],
        "weights": dict(request.weights),
        "rules": [asdict(rule) for rule in request.rules],
        "layer_scaling": dict(request.layer_scaling),
        "metric": request.metric,
    }


def parse_request(value: object, project: Project) -> FuseRequest:
    """The state that JSON values stand for, in a project.

    Raises:
        RecipeError: they are no state of the controls, or name what the project does not have.
        ParameterError: a parameter is none of its method, or has a value that is not allowed.
    """
    try:
        written = WrittenRequest.model_validate(value)
    except ValidationError as error:
        raise RecipeError(f"These are no settings of this page: {explain(error)}.") from None
    names = [expert.name for expert in project.experts]
    for name in (*written.experts, *written.calibration, *written.weights):
        if name not in names:
            raise RecipeError(
                f"There is no expert {name[:40]!r} in the project {project.title[:80]}. These settings belong to other "
                "models."
            )
    known = {*(domain.name for domain in project.domains), FROM_FILE}
    for name, domain in written.calibration.items():
        if domain not in known:
            raise RecipeError(f"There is no calibration data {domain[:40]!r} for {name[:40]} in this project.")
    calibration = {e.name: written.calibration.get(e.name) or default_calibration(project, e) for e in project.experts}
    request = FuseRequest(
        experts=tuple(name for name in names if name in written.experts),
        calibration=tuple(calibration.items()),
        num_examples=written.num_examples,
        methods=tuple(dict.fromkeys(written.methods)),
        references=tuple(dict.fromkeys(written.references)),
        parameters=_parse_parameters(written.parameters),
        is_from_zero=written.is_from_zero,
        pins=parse_pins([pin_text(pin.method, pin.parameters) for pin in written.pins]),
        weights=tuple((n, written.weights[n]) for n in names if written.weights.get(n, 1) != 1),
        rules=tuple(PageRule(rule.parameters, rule.merge, rule.alpha) for rule in written.rules),
        layer_scaling=tuple(written.layer_scaling.items()),
        metric=written.metric,
    )
    request.check(project)
    return request


def explain(error: ValidationError) -> str:
    """The first thing that is wrong, without what was given: that may be long, and anything."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part)[:40] for part in first["loc"])
    return f"{where}: {first['msg'][:120]}" if where else first["msg"][:120]


def settle_on(request: FuseRequest, setting: Setting) -> FuseRequest:
    """The state in which the controls themselves say one of the settings that are compared."""
    parameters = tuple((m, setting.parameters if m == setting.method else values) for m, values in request.parameters)
    methods = request.methods if setting.method in request.methods else (*request.methods, setting.method)
    return replace(request, methods=methods, parameters=parameters)


def _changed(method: str, values: Values) -> dict[str, Any]:
    defaults = default_values(find_method(method))
    return {name: value for name, value in values if value != defaults[name]}


def _parse_parameters(written: dict[str, dict[str, Any]]) -> tuple[tuple[str, Values], ...]:
    parameters = {method.name: default_values(method) for method in METHODS}
    for name, values in written.items():
        method = find_method(name)
        parameters[method.name] = parameters[method.name] | values
        make_method(method.name, parameters[method.name])
    return tuple((name, tuple(values.items())) for name, values in parameters.items())
