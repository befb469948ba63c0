"""Matrices to be merged by methods that decompose them, and what their merges are held against."""

from __future__ import annotations

from dataclasses import replace

import geometry_problems
import numpy as np
import torch
from hypothesis import strategies as st
from oracles import Array

from fusion_ui.methods.base import MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving.treatment import Treatment

TOLERANCE, GAP_TOLERANCE = 1e-12, 1e-9


class Problem(geometry_problems.Problem):
    """The same, of matrices (out x in, as modules store them), with coefficients that sum to one."""

    @property
    def updates(self) -> list[Array]:
        return [e - self.base for e in self.experts]

    @property
    def scaled(self) -> list[float]:
        """Coefficients that are 1 where they are equal."""
        return [c * len(self.coefficients) for c in self.coefficients]

    @property
    def total(self) -> Array:
        return sum(c * u for c, u in zip(self.scaled, self.updates, strict=True))


@st.composite
def problems(draw: st.DrawFn, min_experts: int = 1) -> Problem:
    """Matrices of either orientation and full rank, their updates a tenth of the base."""
    count = draw(st.integers(min_experts, 3))
    shape = (draw(st.integers(3, 8)), draw(st.integers(3, 8)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    base = generator.standard_normal(shape)
    experts = tuple(base + 0.1 * generator.standard_normal(shape) for _ in range(count))
    coefficients = generator.uniform(0.2, 1.0, count)
    return Problem(base, experts, tuple((coefficients / coefficients.sum()).tolist()))


def slot_of(problem: Problem, **change) -> ParameterSlot:
    stacked = torch.stack([torch.tensor(np.array(e)) for e in problem.experts])
    weights = tuple(float(c) for c in problem.coefficients)
    return replace(ParameterSlot("w", stacked, weights, torch.tensor(problem.base), is_linear=True), **change)


def merge(method: MergeMethod, problem: Problem, **change) -> tuple[Array, Treatment]:
    merged, treatment = method.merge_parameter(slot_of(problem, **change))
    return merged.numpy(), treatment


def assert_same(merged: Array, expected: Array, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(merged, expected, rtol=0, atol=tolerance * np.abs(expected).max(initial=1.0))


def singular_values(matrix: Array) -> Array:
    return np.linalg.svd(matrix, compute_uv=False)
