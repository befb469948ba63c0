"""The laws of methods on lengths and angles, in float64: SLERP, the Karcher mean, and what holds for all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import geometry_oracles as oracles
import numpy as np
import pytest
import torch
from geometry_problems import Problem, assert_same, merge, merge_problem, problems, slot_of
from hypothesis import given
from hypothesis import strategies as st
from oracles import Array

from fusion_ui.methods import karcher
from fusion_ui.methods.karcher import KarcherMean
from fusion_ui.methods.model_stock import ModelStock
from fusion_ui.methods.slerp import Slerp
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving import directions
from fusion_ui.solving.directions import measure_directions
from fusion_ui.solving.treatment import Treatment


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
