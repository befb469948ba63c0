"""Slots of experts around a base, as the tests of the methods on task vectors make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from oracles import Array

from fusion_ui.methods import make_method
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving.treatment import Treatment

IDENTITY: dict[str, dict[str, Any]] = {
    "task_arithmetic": {},
    "ties": {"density": 1},
    "dare": {"density": 1},
    "dare_ties": {"density": 1},
    "breadcrumbs": {"drop_smallest": 0, "drop_largest": 0},
    "della": {"density": 1},
    "consensus": {"mask_threshold": 0},
}
"""Every method on task vectors, and the parameters with which it trims nothing."""
ELECTING = ("ties", "dare_ties", "della")
SUMMING = ("task_arithmetic", "dare", "breadcrumbs", "consensus")


@dataclass(frozen=True)
class Problem:
    """A base, the task vectors of its experts, weights that sum to one, and a seed an expert."""

    base: Array
    vectors: list[Array]
    weights: list[float]
    seeds: tuple[int, ...]

    @property
    def coefficients(self) -> list[float]:
        return [len(self.weights) * weight for weight in self.weights]

    @property
    def slot(self) -> ParameterSlot:
        experts = torch.tensor(np.array([self.base + vector for vector in self.vectors]))
        return ParameterSlot("w", experts, tuple(self.weights), torch.tensor(self.base), seeds=self.seeds)

    @property
    def rounded(self) -> list[Array]:
        """The task vectors as they come back from experts minus base."""
        return [(self.base + vector) - self.base for vector in self.vectors]

    def uniform(self, expert: int) -> Array:
        """The numbers that decide which entries of one expert are dropped."""
        generator = torch.Generator().manual_seed(self.seeds[expert])
        return torch.rand(self.base.shape, generator=generator).double().numpy()


@st.composite
def problems(draw: st.DrawFn, *, least: int = 1) -> Problem:
    """Up to four experts of float64, whose changes spread over six orders of magnitude; no two are alike."""
    count, shape = draw(st.integers(least, 4)), draw(st.sampled_from([(), (1,), (7,), (3, 4), (2, 3, 2), (5, 1)]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    vectors = [random.standard_normal(shape) * 10.0 ** random.uniform(-6, 0, shape) for _ in range(count)]
    weights = random.uniform(0.1, 1, count)
    seeds = tuple(int(seed) for seed in random.integers(0, 2**56, count))
    return Problem(np.asarray(random.standard_normal(shape)), vectors, (weights / weights.sum()).tolist(), seeds)


@st.composite
def exact_problems(draw: st.DrawFn) -> Problem:
    """Small multiples of 1/64 and equal weights: sums are exact, and zeros, ties and conflicts are common."""
    count, shape = draw(st.integers(2, 4)), draw(st.sampled_from([(9,), (3, 4)]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = [random.integers(-3, 4, shape) / 64 for _ in range(count + 1)]
    return Problem(values[0], values[1:], [1 / count] * count, tuple(range(count)))


def merge(name: str, slot: ParameterSlot, **parameters: Any) -> tuple[Array, Treatment]:
    merged, treatment = make_method(name, parameters).merge_parameter(slot)
    return merged.numpy(), treatment


def merge_made(name: str, problem: Problem, **parameters: Any) -> Array:
    return merge(name, problem.slot, **parameters)[0]


def assert_same(merged: Array, expected: Array) -> None:
    np.testing.assert_allclose(merged, expected, rtol=1e-12, atol=1e-12)
