"""The laws of Model Stock, in float64."""

from __future__ import annotations

import geometry_oracles as oracles
import numpy as np
from geometry_problems import Problem, assert_same, merge, merge_problem, problems
from hypothesis import given
from hypothesis import strategies as st

from fusion_ui.methods.model_stock import ModelStock
from fusion_ui.solving.treatment import Treatment


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
