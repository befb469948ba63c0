"""The merge methods. To add one: write its file, and add it to `METHODS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fusion_ui.errors import ParameterError
from fusion_ui.methods.base import MergeMethod
from fusion_ui.methods.breadcrumbs import Breadcrumbs
from fusion_ui.methods.consensus import Consensus
from fusion_ui.methods.dare import Dare
from fusion_ui.methods.dare_ties import DareTies
from fusion_ui.methods.data_free_regmean import DataFreeRegMean
from fusion_ui.methods.della import Della
from fusion_ui.methods.diagonal_regmean import DiagonalRegMean
from fusion_ui.methods.fisher import FisherMean
from fusion_ui.methods.iso_c import IsoC
from fusion_ui.methods.karcher import KarcherMean
from fusion_ui.methods.model_stock import ModelStock
from fusion_ui.methods.regmean import RegMean
from fusion_ui.methods.regmean_plusplus import RegMeanPlusPlus
from fusion_ui.methods.simple_mean import SimpleMean
from fusion_ui.methods.slerp import Slerp
from fusion_ui.methods.task_arithmetic import TaskArithmetic
from fusion_ui.methods.ties import Ties
from fusion_ui.methods.tsv_merge import TsvMerge
from fusion_ui.parameters import check_values

METHODS: tuple[type[MergeMethod], ...] = (
    RegMean,
    RegMeanPlusPlus,
    SimpleMean,
    FisherMean,
    DiagonalRegMean,
    DataFreeRegMean,
    TaskArithmetic,
    Ties,
    Dare,
    DareTies,
    Breadcrumbs,
    Della,
    Consensus,
    ModelStock,
    Slerp,
    KarcherMean,
    IsoC,
    TsvMerge,
)


def find_method(name: str) -> type[MergeMethod]:
    """The method called `name` in recipes.

    Raises:
        ParameterError: there is none of that name.
    """
    for method in METHODS:
        if method.name == name:
            return method
    known = ", ".join(method.name for method in METHODS)
    raise ParameterError(f"There is no merge method {str(name)[:60]!r}. Choose one of: {known}.")


def make_method(name: str, parameters: Mapping[str, Any]) -> MergeMethod:
    """A method with its parameters, checked against their declarations.

    Raises:
        ParameterError: the method or a parameter is unknown, or a value is not accepted.
    """
    method = find_method(name)
    check_values(method, method.title, parameters)
    return method(**parameters)
