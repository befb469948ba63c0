"""From the values of the page's controls to the request that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fusion_ui.methods import METHODS
from fusion_ui.parameters import default_values
from fusion_ui.projects.building import MAX_EXPERTS
from fusion_ui.projects.project import Project
from fusion_ui.ui.panels.exceptions import read_exceptions
from fusion_ui.ui.request import FuseRequest, parse_pins


def make_reader(
    parameters: list[tuple[str, str]], num_exceptions: int
) -> Callable[[tuple[Any, ...], Project], FuseRequest]:
    """A function from the values of all controls, in the page's order, and the project they are about, to a request."""

    def read(values: tuple[Any, ...], project: Project) -> FuseRequest:
        names = [expert.name for expert in project.experts]
        included, calibration, weights = (values[i * MAX_EXPERTS : i * MAX_EXPERTS + len(names)] for i in range(3))
        num_examples, methods, pins, references, is_from_zero, metric, *rest = values[3 * MAX_EXPERTS :]
        by_method = read_parameters(parameters, rest[num_exceptions:])
        return FuseRequest(
            experts=tuple(name for name, is_included in zip(names, included, strict=True) if is_included),
            calibration=tuple(zip(names, calibration, strict=True)),
            num_examples=num_examples,
            methods=tuple(methods or ()),
            references=tuple(references or ()),
            parameters=tuple((method, tuple(values.items())) for method, values in by_method.items()),
            is_from_zero=bool(is_from_zero),
            metric=metric or "",
            pins=parse_pins(pins or ()),
            # A control that was never shown holds nothing.
            weights=tuple((n, w) for n, w in zip(names, weights, strict=True) if w is not None and w != 1),
            **read_exceptions(rest[:num_exceptions]),
        )

    return read


def read_parameters(parameters: list[tuple[str, str]], values: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Method -> its parameters, from the controls' values; a control that was never shown stands for its default."""
    by_method = {method.name: dict(default_values(method)) for method in METHODS}
    for (method, name), value in zip(parameters, values, strict=True):
        if value is not None:
            by_method[method][name] = value
    return by_method
