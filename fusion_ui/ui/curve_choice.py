"""Which parameter the curve goes over, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fusion_ui.methods import METHODS, find_method
from fusion_ui.parameters import Range, declared_parameters, find_range

MAIN = ("regmean", "alpha")
"""The parameter that the page's slider drags."""
NUM_VALUES = 21
"""Of a parameter, over its whole range."""


@dataclass(frozen=True)
class CurveChoice:
    """What a visitor wants to see of the curve.

    Attributes:
        method, parameter: whose values lie along the axis.
        is_relative: scores as shares of each domain's own expert.
    """

    method: str = MAIN[0]
    parameter: str = MAIN[1]
    is_relative: bool = False

    @property
    def declared(self) -> Range:
        """The parameter's declaration."""
        method = find_method(self.method)
        return find_range(method, method.title, self.parameter)

    @property
    def key(self) -> str:
        """The parameter as the page's list of parameters has it."""
        return f"{self.method}.{self.parameter}"

    @property
    def title(self) -> str:
        """For people: "RegMean α"."""
        return f"{find_method(self.method).title} {self.declared.symbol}"

    @property
    def values(self) -> tuple[float, ...]:
        """What is computed, coarse to fine, so that the curve has its shape early."""
        return coarse_to_fine(self.declared.spread(NUM_VALUES))


def curve_choices(methods: Sequence[str]) -> list[CurveChoice]:
    """A choice for every parameter of the given methods that is a number and has a symbol."""
    chosen = [method for method in METHODS if method.name in methods]
    parameters = [(m.name, name, declared) for m in chosen for name, declared in declared_parameters(m).items()]
    return [CurveChoice(m, name) for m, name, declared in parameters if isinstance(declared, Range) and declared.symbol]


def coarse_to_fine(values: Sequence[float]) -> tuple[float, ...]:
    """Both ends first, then always the value that lies farthest from those before it.

    Args:
        values: ascending.
    """
    found, left = list(dict.fromkeys([values[0], values[-1]])), list(values[1:-1])
    while left:
        found.append(max(left, key=lambda value: round(min(abs(value - other) for other in found), 10)))
        left.remove(found[-1])
    return tuple(found)
