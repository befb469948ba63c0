"""The laws of methods on lengths and angles, in float64: Model Stock, SLERP and the Karcher mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import geometry_oracles as oracles
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import Array

from fusion_ui.methods import karcher
from fusion_ui.methods.base import MergeMethod
from fusion_ui.methods.karcher import KarcherMean
from fusion_ui.methods.model_stock import ModelStock
from fusion_ui.methods.slerp import Slerp
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving import directions
from fusion_ui.solving.directions import measure_directions
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


def rotate(vectors: Sequence[Array], seed: int) -> list[Array]:
    """The same orthogonal map applied to all of them, as vectors."""
    size = vectors[0].size
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    return [(turn @ v.reshape(-1)).reshape(v.shape) for v in vectors]


# Angles


@given(problem=problems(min_experts=2), pieces=st.sampled_from([1, 7, 2**20]))
def test_small_angles_keep_their_digits_however_many_numbers_are_taken_at_a_time(problem: Problem, pieces: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directions, "NUMBERS_PER_PIECE", pieces)
        found = measure_directions(slot_of(problem.experts).experts)
    units = [e.astype(np.longdouble) / np.sqrt((e.astype(np.longdouble) ** 2).sum()) for e in problem.experts]
    expected = np.array([[float(((a - b) ** 2).sum() / 2) for b in units] for a in units])
    # A versine of 1e-12 is made of differences of 1e-6, each rounded at 1e-16 of 1.
    np.testing.assert_allclose(found.versines.numpy(), expected, rtol=1e-8, atol=1e-25)
    np.testing.assert_allclose(found.lengths.numpy(), [np.linalg.norm(e) for e in problem.experts], rtol=1e-14)


# Model Stock


@given(problem=problems(min_experts=2))
def test_model_stock_is_the_printed_formula(problem: Problem):
    merged, _ = merge(ModelStock, problem.experts, None, problem.base)
    assert_same(merged, oracles.model_stock(problem.base, problem.experts))


def test_model_stock_by_hand():
    # Base 0, cosine 1/2, t = 2 * 1/2 / (1 + 1/2) = 2/3, mean (3/4, sqrt(3)/4).
    merged, treatment = merge(ModelStock, [np.array([1.0, 0]), np.array([0.5, 3**0.5 / 2])], None, np.zeros(2))
    assert_same(merged, np.array([0.5, 3**0.5 / 6]))
    assert treatment == Treatment("model stock")


@given(problem=problems(min_experts=2), seed=st.integers(0, 2**32 - 1), noise=st.floats(0.01, 10))
def test_model_stock_is_nearest_to_the_centre_where_experts_are_centre_and_noise(
    problem: Problem, seed: int, noise: float
):
    # The paper's picture in exact form, and with coefficients, which the paper does not have.
    count = len(problem.experts)
    axes = np.linalg.qr(np.random.default_rng(seed).standard_normal((9, count + 1)))[0].T
    base = np.linspace(-1, 1, 9)
    centre = base + axes[0]
    experts = [centre + noise * axis for axis in axes[1:]]
    merged, _ = merge(ModelStock, experts, problem.coefficients, base)
    mean = sum(c * e for c, e in zip(problem.coefficients, experts, strict=True))
    nearest = ((centre - base) @ (mean - base)) / ((mean - base) @ (mean - base))
    assert_same(merged, base + nearest * (mean - base))


@given(problem=problems(min_experts=2), seed=st.integers(0, 2**32 - 1))
def test_model_stock_of_parallel_task_vectors_is_the_mean(problem: Problem, seed: int):
    factors = np.random.default_rng(seed).uniform(0.1, 2, len(problem.experts))
    experts = [problem.base + k * (problem.experts[0] - problem.base) for k in factors]
    parallel = Problem(problem.base, tuple(experts), problem.coefficients)
    assert_same(merge_problem(ModelStock, parallel), parallel.mean)


@given(problem=problems(min_experts=2))
def test_model_stock_of_task_vectors_at_right_angles_is_the_base(problem: Problem):
    base, count = problem.base.reshape(-1), len(problem.experts)
    experts = [base + (i + 1) * np.eye(len(base))[i] for i in range(count)]
    assert_same(merge(ModelStock, experts, problem.coefficients, base)[0], base)


@given(problem=problems(min_experts=2))
def test_model_stock_moves_with_the_base(problem: Problem):
    shift = np.full(problem.base.shape, 0.75)
    moved = Problem(problem.base + shift, tuple(e + shift for e in problem.experts), problem.coefficients)
    # Task vectors of 1e-6 lose ten digits when something of size 1 is added to both ends.
    assert_same(merge_problem(ModelStock, moved), merge_problem(ModelStock, problem) + shift)


def test_model_stock_of_task_vectors_that_point_apart_stays_at_the_base_and_says_so():
    base, step = np.array([5.0, 5.0]), np.array([1.0, 0.2])
    merged, treatment = merge(ModelStock, [base + step, base - step], None, base)
    np.testing.assert_array_equal(merged, base)
    assert treatment.path == "base" and "point away from each other, cosine -1" in treatment.reason


def test_model_stock_of_zero_task_vectors_is_finite():
    base, step = np.array([5.0, 5.0]), np.array([1.0, 0.2])
    assert_same(merge(ModelStock, [base, base.copy()], None, base)[0], base)
    assert_same(merge(ModelStock, [base, base + step], None, base)[0], base)  # zero is at a right angle to all


def test_model_stock_with_all_the_weight_on_one_expert_is_that_expert_and_says_why():
    experts = [np.array([1.0, 2.0]), np.array([3.0, 1.0])]
    merged, treatment = merge(ModelStock, experts, [0.0, 1.0], np.zeros(2))
    assert_same(merged, experts[1])
    assert "all the weight" in treatment.reason


# SLERP


@given(problem=problems(2, 2))
def test_slerp_turns_the_first_direction_towards_the_second(problem: Problem):
    assert_same(merge_problem(Slerp, problem), oracles.slerp(*problem.experts, problem.coefficients[1]))


def test_slerp_by_hand():
    quarter = [np.array([1.0, 0]), np.array([0, 1.0])]
    for position, degrees in ((0.5, 45), (1 / 3, 30), (0.9, 81)):
        turned = math.radians(degrees)
        expected = np.array([math.cos(turned), math.sin(turned)])
        merged, treatment = merge(Slerp, quarter, [1 - position, position])
        assert_same(merged, expected)
        assert treatment == Treatment("slerp")
        # Half of the way the length is half of the way too.
        longer, _ = merge(Slerp, [2 * quarter[0], 4 * quarter[1]], [1 - position, position])
        assert_same(longer, (2 + 2 * position) * expected)


@given(problem=problems(2, 2))
def test_slerp_ends_at_the_experts_to_the_bit(problem: Problem):
    for i, weights in enumerate([(1.0, 0.0), (0.0, 1.0)]):
        np.testing.assert_array_equal(merge(Slerp, problem.experts, weights)[0], problem.experts[i])


@given(problem=problems(2, 2))
def test_slerp_backwards_is_the_same_arc(problem: Problem):
    backwards = Problem(problem.base, problem.experts[::-1], problem.coefficients[::-1])
    assert_same(merge_problem(Slerp, backwards), merge_problem(Slerp, problem))


@given(problem=problems(2, 2), factor=st.sampled_from([0.0, 1e-3, 0.5, 1.0, 3.0]), position=st.floats(0, 1))
def test_slerp_of_parallel_or_zero_experts_is_lerp_and_says_so(problem: Problem, factor: float, position: float):
    first = problem.experts[0]
    merged, treatment = merge(Slerp, [first, factor * first], [1 - position, position])
    assert_same(merged, (1 - position) * first + position * factor * first)
    assert treatment.path == "lerp"
    assert ("zero" if factor == 0 else "parallel") in treatment.reason


@given(problem=problems(2, 2))
def test_slerp_of_nearly_parallel_experts_is_nearly_lerp(problem: Problem):
    first, second = problem.experts
    nearly = Problem(problem.base, (first, first + 1e-8 * (second - first)), problem.coefficients)
    assert_same(merge_problem(Slerp, nearly), nearly.mean)


def test_slerp_of_opposite_experts_is_lerp_and_says_so():
    vector = np.array([1.0, 2.0, -0.5])
    merged, treatment = merge(Slerp, [vector, -3 * vector], [0.25, 0.75])
    assert_same(merged, -2 * vector)
    assert treatment.path == "lerp" and "opposite" in treatment.reason


def test_experts_that_are_one_tensor_are_returned_to_the_bit():
    tensor = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    slot = ParameterSlot("w", tensor.expand(2, 3, 4), (0.3, 0.7), base=torch.zeros(3, 4))
    for kind in (Slerp, KarcherMean, ModelStock):
        assert torch.equal(kind().merge_parameter(slot)[0], tensor)


# Karcher mean


@given(problem=problems())
def test_the_karcher_mean_is_found_from_elsewhere_by_other_steps(problem: Problem):
    merged, treatment = merge(KarcherMean, problem.experts, problem.coefficients)
    assert_same(merged, oracles.karcher_mean(problem.experts, problem.coefficients))
    assert treatment == Treatment("karcher")


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 6))
def test_nothing_pulls_the_karcher_mean_any_further_even_far_apart(seed: int, count: int):
    generator = np.random.default_rng(seed)
    experts = [generator.standard_normal(20) + 0.5 for _ in range(count)]
    coefficients = generator.dirichlet(np.full(count, 3.0))
    merged, treatment = merge(KarcherMean, experts, coefficients.tolist())
    assert treatment == Treatment("karcher")
    pulls = oracles.pulls_on_the_sphere(merged / np.linalg.norm(merged), experts)
    assert np.linalg.norm(sum(c * p for c, p in zip(coefficients, pulls, strict=True))) < 1e-11
    assert np.linalg.norm(merged) == pytest.approx(
        sum(c * np.linalg.norm(e) for c, e in zip(coefficients, experts, strict=True))
    )


def test_the_karcher_mean_by_hand():
    # Three axes: the space diagonal. Lengths 1, 2 and 6: on average 3.
    merged, _ = merge(KarcherMean, [np.eye(3)[0], 2 * np.eye(3)[1], 6 * np.eye(3)[2]])
    assert_same(merged, np.full(3, 3**0.5))


@given(problem=problems(2, 2))
def test_the_karcher_mean_of_two_is_slerp_at_their_weights(problem: Problem):
    assert_same(merge_problem(KarcherMean, problem), merge_problem(Slerp, problem))


@given(problem=problems())
def test_the_karcher_mean_of_equal_experts_is_that_expert(problem: Problem):
    merged, _ = merge(KarcherMean, [problem.experts[0]] * len(problem.experts), problem.coefficients)
    assert_same(merged, problem.experts[0])


@given(problem=problems(min_experts=2))
def test_the_order_of_experts_does_not_matter(problem: Problem):
    turned = Problem(problem.base, problem.experts[::-1], problem.coefficients[::-1])
    for kind in (KarcherMean, ModelStock):
        assert_same(merge_problem(kind, turned), merge_problem(kind, problem))


@given(problem=problems(2, 2), seed=st.integers(0, 2**32 - 1))
def test_turning_everything_turns_the_merge(problem: Problem, seed: int):
    base, *experts = rotate([problem.base, *problem.experts], seed)
    turned = Problem(base, tuple(experts), problem.coefficients)
    for kind in (KarcherMean, Slerp, ModelStock):
        (expected,) = rotate([merge_problem(kind, problem)], seed)
        assert_same(merge_problem(kind, turned), expected)


@given(problem=problems(), exponent=st.floats(-15, 15))
def test_a_common_scale_scales_the_karcher_mean(problem: Problem, exponent: float):
    scaled = Problem(problem.base, tuple(10.0**exponent * e for e in problem.experts), problem.coefficients)
    assert_same(merge_problem(KarcherMean, scaled) / 10.0**exponent, merge_problem(KarcherMean, problem))


@given(problem=problems(min_experts=2))
def test_an_expert_with_weight_0_has_no_part_wherever_it_points(problem: Problem):
    for stranger in (np.zeros_like(problem.base), -problem.experts[0], np.ones_like(problem.base)):
        merged, treatment = merge(KarcherMean, [*problem.experts, stranger], [*problem.coefficients, 0.0])
        assert_same(merged, merge_problem(KarcherMean, problem))
        assert treatment == Treatment("karcher")


@pytest.mark.parametrize(
    ("experts", "reason"),
    [
        ([np.array([1.0, 2.0]), np.array([-1.0, -2.0])], "opposite"),
        ([np.array([1.0, 2.0]), np.array([2.0, 4.0]), np.array([-1.0, -2.0])], "opposite"),
        ([np.array([1.0, 0.0]), np.array([-0.5, 0.75**0.5]), np.array([-0.5, -(0.75**0.5)])], "opposite"),
        ([np.array([1.0, 2.0]), np.zeros(2)], "zero here"),
        ([np.array(2.0), np.array(-3.0)], "opposite"),
    ],
    ids=["two opposite", "two against one", "all around", "zero", "numbers of different sign"],
)
def test_directions_without_a_centre_are_averaged_and_it_is_said(experts: list[Array], reason: str):
    merged, treatment = merge(KarcherMean, experts)
    assert_same(merged, sum(experts) / len(experts))
    assert treatment.path == "mean" and reason in treatment.reason


def test_a_search_that_does_not_end_in_time_says_so(monkeypatch: pytest.MonkeyPatch):
    experts = [np.eye(3)[0], np.eye(3)[1], np.array([0.3, 0.1, 2.0])]
    whole, _ = merge(KarcherMean, experts)
    monkeypatch.setattr(karcher, "MAX_STEPS", 2)
    merged, treatment = merge(KarcherMean, experts)
    assert treatment.path == "karcher" and "not converged: step 2 still moved it by" in treatment.reason
    assert 1e-12 < np.abs(merged - whole).max() < 0.1
