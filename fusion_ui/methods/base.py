"""What a merge method is: a frozen dataclass of declared hyper-parameters and one function from slot to tensor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import Tensor

from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.parameters import check_values, declared_parameters
from fusion_ui.solving.treatment import Treatment
from fusion_ui.statistics.statistic import StatisticKind

Merged = tuple[Tensor, Treatment]
"""A merged parameter with the shape of one expert's, and what was done to it."""


@dataclass(frozen=True)
class MergeMethod(ABC):
    """Base of every merge method. Subclasses are frozen dataclasses in a file of their own, listed in `METHODS`.

    Class variables:
        name: how recipes and the command line call it.
        title: how people call it.
        paper: where it comes from, as a link; empty where there is none.
        formula: one line of plain text.
        requires: the statistics it needs of every expert.
        color: its colour in every figure, from a palette that is safe for colour-blind people.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str] = ""
    formula: ClassVar[str]
    requires: ClassVar[frozenset[StatisticKind]] = frozenset()
    color: ClassVar[str]

    def __post_init__(self) -> None:
        check_values(type(self), self.title, asdict(self))

    @abstractmethod
    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        """Merge one parameter."""

    @classmethod
    def can_prepare(cls) -> bool:
        """True if the method has costly work that no hyper-parameter changes, done by `prepare_parameter`."""
        return cls.prepare_parameter.__func__ is not MergeMethod.prepare_parameter.__func__

    @classmethod
    def prepare_parameter(cls, slot: ParameterSlot) -> Callable[[Any], Merged]:
        """Do the costly work on one parameter and return the cheap rest as a function of the method."""
        raise TypeError(f"{cls.__name__} has nothing to prepare; call merge_parameter")

    def describe(self) -> str:
        """The title with the parameters that have a symbol, for a legend: "RegMean α=0.9"."""
        symbols = {
            name: declared.symbol for name, declared in declared_parameters(type(self)).items() if declared.symbol
        }
        return " ".join([self.title, *(f"{symbol}={getattr(self, name):g}" for name, symbol in symbols.items())])

    @classmethod
    def summary(cls) -> str:
        """The first line of the class's docstring."""
        return (cls.__doc__ or "").strip().splitlines()[0]
