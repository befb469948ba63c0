"""What a merge method is: a frozen dataclass of declared hyper-parameters and one function from slot to tensor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import Tensor

from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.parameters import check_values, declared_parameters
from fusion_ui.solving.normal_equations import NormalEquations
from fusion_ui.solving.treatment import Treatment
from fusion_ui.statistics.statistic import StatisticKind, StatisticSettings

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
        needs_text: it runs the experts' calibration text while it merges, so statistics files cannot stand for it.
        needs_base: it works on task vectors, the experts' differences from the base model.
        num_experts: how few and how many experts it merges; None for any number.
        keeps_identical: a merge of identical experts is that expert, whatever the parameters. False where a method
            scales or trims task vectors, and so may end before or beyond the experts.
        factorises: it solves the normal equations of its slots, which is then done on a GPU where there is one.
        color: its colour in every figure, from a palette that is safe for colour-blind people.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str] = ""
    formula: ClassVar[str]
    requires: ClassVar[frozenset[StatisticKind]] = frozenset()
    needs_text: ClassVar[bool] = False
    needs_base: ClassVar[bool] = False
    num_experts: ClassVar[tuple[int, int | None]] = (1, None)
    keeps_identical: ClassVar[bool] = True
    factorises: ClassVar[bool] = False
    color: ClassVar[str]

    def __post_init__(self) -> None:
        check_values(type(self), self.title, asdict(self))

    @abstractmethod
    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        """Merge one parameter."""

    def extend_settings(self, how: StatisticSettings) -> StatisticSettings:
        """How its statistics are to be measured: as `how` says, with what its parameters ask for besides."""
        return how

    @classmethod
    def can_prepare(cls) -> bool:
        """True if the method has costly work that no hyper-parameter changes, done by `prepare_parameter`."""
        return cls.prepare_parameter.__func__ is not MergeMethod.prepare_parameter.__func__

    @classmethod
    def prepare_parameter(cls, slot: ParameterSlot, settings: Sequence[Any] = ()) -> Callable[[Any], Merged]:
        """Do the costly work on one parameter and return the cheap rest as a function of the method.

        Args:
            settings: the only ones that will be asked for; any, where none is named.
        """
        raise TypeError(f"{cls.__name__} has nothing to prepare; call merge_parameter")

    @classmethod
    def find_equations(cls, slot: ParameterSlot) -> NormalEquations | None:
        """The normal equations that say how well the method's result is determined; None where it solves none."""
        return slot.equations

    @classmethod
    def needs_calibration(cls) -> bool:
        """True if every expert needs text of its own domain, or statistics measured on it."""
        return cls.needs_text or bool(cls.requires)

    @classmethod
    def find_obstacle(cls, num_experts: int, has_base: bool) -> str:
        """Why the method cannot merge so many experts, with or without their base model; empty if it can."""
        if cls.needs_base and not has_base:
            return f"{cls.title} needs the base model that the experts were fine-tuned from. Name it as the base."
        least, most = cls.num_experts
        if num_experts < least or (most is not None and num_experts > most):
            allowed = str(least) if least == most else f"at least {least}" if most is None else f"{least} to {most}"
            return f"{cls.title} merges {allowed} experts, and {num_experts} take part. Change which do."
        return ""

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


@dataclass(frozen=True)
class SequentialMethod(MergeMethod):
    """Base of methods that merge in the order of the forward pass.

    `merge_parameter` is the same as for any method, but the Gram matrices in its slots are measured while it goes:
    every expert's text runs through what is merged already, up to the transformer layer that is merged next.
    """

    needs_text: ClassVar[bool] = True
