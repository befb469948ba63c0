"""A base and experts around it, and what their merges are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from oracles import Array

from fusion_ui.methods.base import MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving.treatment import Treatment

TOLERANCE = 1e-12


@dataclass(frozen=True)
class Problem:
    """A base, experts around it and coefficients."""

    base: Array
    experts: tuple[Array, ...]
    coefficients: tuple[float, ...]

    @property
    def mean(self) -> Array:
        return sum(c * e for c, e in zip(self.coefficients, self.experts, strict=True))


@st.composite
def problems(draw: st.DrawFn, min_experts: int = 1, max_experts: int = 4) -> Problem:
    """Random shapes; experts are from 1e-6 to 0.3 of the base's length away from it, as fine-tuning is, or more."""
    count = draw(st.integers(min_experts, max_experts))
    shape = draw(st.sampled_from([(6,), (3, 4), (2, 3, 2)]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    distance = 10.0 ** draw(st.floats(-6, -0.5))
    base = generator.standard_normal(shape)
    shared = generator.standard_normal(shape)
    experts = tuple(base + distance * (shared + generator.standard_normal(shape)) for _ in range(count))
    coefficients = generator.uniform(0.2, 1.0, count)
    return Problem(base, experts, tuple((coefficients / coefficients.sum()).tolist()))


def slot_of(experts: Sequence[Array], coefficients: Sequence[float] | None = None, base: Array | None = None):
    """A float64 slot; equal coefficients unless they are given."""
    weights = tuple(float(c) for c in coefficients or [1 / len(experts)] * len(experts))
    stacked = torch.stack([torch.tensor(np.array(e)) for e in experts])
    return ParameterSlot("weight", stacked, weights, base=None if base is None else torch.tensor(base))


def merge(kind: type[MergeMethod], *problem) -> tuple[Array, Treatment]:
    merged, treatment = kind().merge_parameter(slot_of(*problem))
    return merged.numpy(), treatment


def merge_problem(kind: type[MergeMethod], problem: Problem) -> Array:
    return merge(kind, problem.experts, problem.coefficients, problem.base)[0]


def assert_same(merged: Array, expected: Array, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(merged, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))
