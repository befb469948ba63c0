"""One declaration of a method's hyper-parameter drives validation, the control on the page and the CLI option.

A merge method annotates each of its fields with exactly one of `Range`, `Choice` or `Toggle`. The declaration prints
itself as a noun phrase ("a number in [0, 1]"), so that every message has the same form:

    The 'alpha' parameter of RegMean must be a number in [0, 1]. Got 2 instead.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from types import MappingProxyType
from typing import Any, get_type_hints

from fusion_ui.errors import ParameterError


@dataclass(frozen=True, kw_only=True)
class Parameter(ABC):
    """What a hyper-parameter accepts, and how it is explained.

    Attributes:
        label: what the control is called.
        help: one or two sentences beside it.
        symbol: its letter in formulas and legends, where it has one.
        detail: what else is worth knowing, for those who ask.
    """

    label: str
    help: str
    symbol: str = ""
    detail: str = ""

    @abstractmethod
    def accepts(self, value: Any) -> bool:
        """True if `value` may be used as it is."""

    @abstractmethod
    def parse(self, text: str) -> Any:
        """Turn command-line text into a value; text that means nothing is returned unchanged."""

    def check(self, value: Any, name: str, owner: str) -> None:
        """Raise `ParameterError` unless `value` is accepted."""
        if not self.accepts(value):
            raise ParameterError(f"The {name!r} parameter of {owner} must be {self}. Got {_shorten(value)} instead.")


@dataclass(frozen=True)
class Range(Parameter):
    """A finite number between two ends, both included."""

    minimum: float
    maximum: float
    step: float = 0.01
    minimum_label: str = ""
    maximum_label: str = ""

    def __str__(self) -> str:
        return f"a number in [{self.minimum:g}, {self.maximum:g}]"

    def accepts(self, value: Any) -> bool:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and self.minimum <= value <= self.maximum  # false for NaN and the infinities too

    def spread(self, count: int) -> tuple[float, ...]:
        """So many evenly spaced values on the parameter's own steps, both ends among them; fewer if it has fewer."""
        num_steps = (self.maximum - self.minimum) / self.step
        steps = dict.fromkeys(round(num_steps * i / (count - 1)) for i in range(1, count - 1))
        between = (round(self.minimum + self.step * step, 10) for step in steps)
        return tuple(dict.fromkeys([float(self.minimum), *between, float(self.maximum)]))

    def parse(self, text: str) -> Any:
        try:
            return float(text)
        except ValueError:
            return text


@dataclass(frozen=True)
class Choice(Parameter):
    """One of a few named options."""

    options: tuple[str, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(repr(option) for option in self.options)

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.options

    def parse(self, text: str) -> Any:
        return text


@dataclass(frozen=True)
class Toggle(Parameter):
    """Yes or no."""

    def __str__(self) -> str:
        return "true or false"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)

    def parse(self, text: str) -> Any:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.lower(), text)


@cache
def declared_parameters(owner: type) -> Mapping[str, Parameter]:
    """The declaration of every dataclass field of `owner`, in order.

    Raises:
        TypeError: a field does not carry exactly one declaration; a mistake in the code, not of the person.
    """
    hints = get_type_hints(owner, include_extras=True)
    declared = {}
    for field in fields(owner):
        found = [m for m in getattr(hints[field.name], "__metadata__", ()) if isinstance(m, Parameter)]
        if len(found) != 1 or field.default is MISSING:
            raise TypeError(f"{owner.__name__}.{field.name} needs one Range, Choice or Toggle, and a default")
        declared[field.name] = found[0]
    return MappingProxyType(declared)


def default_values(owner: type) -> dict[str, Any]:
    """The default of every dataclass field of `owner`, in order."""
    return {field.name: field.default for field in fields(owner)}


def check_values(owner: type, title: str, values: Mapping[str, Any]) -> None:
    """Check names and values against the declarations of `owner`.

    Raises:
        ParameterError: a name is unknown or a value is not accepted.
    """
    declared = declared_parameters(owner)
    for name, value in values.items():
        if name not in declared:
            known = ", ".join(repr(n) for n in declared) or "none"
            raise ParameterError(f"{title} has no parameter {_shorten(name)}. It has: {known}.")
        declared[name].check(value, name, title)


def find_range(owner: type, title: str, name: str) -> Range:
    """The declaration of a parameter that is a number.

    Raises:
        ParameterError: there is none of that name.
    """
    declared = declared_parameters(owner)
    found = declared.get(name)
    if not isinstance(found, Range):
        numbers = ", ".join(repr(n) for n, parameter in declared.items() if isinstance(parameter, Range)) or "none"
        raise ParameterError(f"{title} has no parameter {_shorten(name)} that is a number. It has: {numbers}.")
    return found


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
