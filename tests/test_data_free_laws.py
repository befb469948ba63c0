"""The laws of RegMean without data, or without off-diagonals, in float64; tolerances as of the spectral methods."""

from __future__ import annotations

from collections.abc import Sequence

import geometry_oracles as oracles
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import Array, regmean_by_formula
from spectral_problems import GAP_TOLERANCE, TOLERANCE, Problem, assert_same, merge, problems, slot_of

from fusion_ui.methods.data_free_regmean import DataFreeRegMean
from fusion_ui.methods.diagonal_regmean import DiagonalRegMean
from fusion_ui.methods.regmean import RegMean
from fusion_ui.solving.normal_equations import NormalEquations
from fusion_ui.solving.treatment import Treatment

# RegMean without data

alphas = st.one_of(st.sampled_from([0.0, 0.5, 0.9, 1.0]), st.floats(0, 1))


@given(problem=problems(), alpha=alphas)
def test_the_data_free_merge_is_where_the_gradient_of_the_loss_is_zero(problem: Problem, alpha: float):
    merged, _ = merge(DataFreeRegMean(alpha=alpha), problem)
    transposed = [e.T for e in problem.experts]
    gradient = oracles.wudi_gradient(merged.T, problem.base.T, transposed, problem.coefficients, alpha)
    assert np.abs(gradient).max() < TOLERANCE


@given(problem=problems(), seed=st.integers(0, 2**32 - 1))
def test_the_gradient_is_zero_too_where_task_vectors_leave_directions_free(problem: Problem, seed: int):
    generator = np.random.default_rng(seed)
    rows, columns = problem.base.shape
    thin = [np.outer(generator.standard_normal(rows), generator.standard_normal(columns)) for _ in problem.experts]
    adapters = Problem(problem.base, tuple(problem.base + t for t in thin), problem.coefficients)
    merged, treatment = merge(DataFreeRegMean(alpha=1), adapters)
    transposed = [e.T for e in adapters.experts]
    gradient = oracles.wudi_gradient(merged.T, adapters.base.T, transposed, adapters.coefficients, 1.0)
    assert np.abs(gradient).max() < GAP_TOLERANCE
    assert treatment.path == "eigen"
    # Of all such points it is the one nearest to the mean, each feature measured by its own activity.
    activity = sum(c * np.diag(oracles.surrogate_gram(t.T)) for c, t in zip(adapters.coefficients, thin, strict=True))
    free = np.linalg.svd(np.concatenate(thin))[2][len(thin) :]
    assert_same((merged - adapters.mean) * activity @ free.T, np.zeros((rows, len(free))), GAP_TOLERANCE)


@given(problem=problems(), alpha=st.floats(0, 0.95))
def test_the_data_free_merge_is_regmean_with_surrogate_grams_on_every_path(problem: Problem, alpha: float):
    grams = [oracles.surrogate_gram(u.T) for u in problem.updates]
    transposed = [e.T for e in problem.experts]
    expected = regmean_by_formula(grams, [1] * len(grams), transposed, problem.coefficients, alpha).T
    plain, treatment = merge(DataFreeRegMean(alpha=alpha), problem)
    assert_same(plain, expected, GAP_TOLERANCE)
    prepared = DataFreeRegMean.prepare_parameter(slot_of(problem))(DataFreeRegMean(alpha=alpha))
    assert_same(prepared[0].numpy(), expected, GAP_TOLERANCE)
    assert (treatment.path, prepared[1].path) == ("cholesky", "eigen")


@given(problem=problems(min_experts=2), alpha=alphas)
def test_an_expert_that_is_the_base_has_no_say_without_data(problem: Problem, alpha: float):
    count = len(problem.experts)
    coefficients = (*(c * count / (count + 1) for c in problem.coefficients), 1 / (count + 1))
    method = DataFreeRegMean(alpha=alpha)
    joined = merge(method, Problem(problem.base, (*problem.experts, problem.base), coefficients))[0]
    # Every direction is some task's, so none is left to the mean, which the base does belong to.
    assume(count * problem.base.shape[0] >= problem.base.shape[1])
    assert_same(joined, merge(method, problem)[0], GAP_TOLERANCE)


@given(problem=problems(), alpha=alphas)
def test_the_data_free_merge_of_identical_experts_is_that_expert(problem: Problem, alpha: float):
    same = Problem(problem.base, (problem.experts[0],) * len(problem.experts), problem.coefficients)
    assert_same(merge(DataFreeRegMean(alpha=alpha), same)[0], problem.experts[0])


def test_the_data_free_merge_by_hand():
    # tau_1 moves by input (1, 0), tau_2 by (0, 1): each input's weights come from the expert that it moved.
    base, experts = np.array([[1.0, 1.0]]), (np.array([[3.0, 1.0]]), np.array([[1.0, 6.0]]))
    merged, _ = merge(DataFreeRegMean(), Problem(base, experts, (0.5, 0.5)))
    assert_same(merged, np.array([[3.0, 6.0]]))


# RegMean without off-diagonals


@st.composite
def measured(draw: st.DrawFn) -> tuple[Problem, list[Array], list[int]]:
    """Experts with inputs whose features differ in scale, and one feature that is never active."""
    problem = draw(problems())
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    width = problem.base.shape[1]
    scale = 2.0 ** generator.integers(-10, 11, width)
    scale[0] = 0.0
    rows = [generator.standard_normal((int(generator.integers(5, 40)), width)) * scale for _ in problem.experts]
    return problem, rows, [len(x) for x in rows]


def equations_of(grams: Sequence[Array], num_rows: Sequence[int], problem: Problem) -> NormalEquations:
    tensors = tuple(torch.tensor(g) for g in grams)
    return NormalEquations(tensors, tuple(num_rows), tuple(problem.coefficients), dtype=torch.float64)


@given(case=measured())
def test_the_diagonal_merge_is_each_features_mean_weighted_by_its_activity_and_regmean_at_alpha_0(case):
    problem, rows, num_rows = case
    equations = equations_of([x.T @ x for x in rows], num_rows, problem)
    merged, treatment = merge(DiagonalRegMean(), problem, equations=equations)
    shares = [c * (x * x).mean(0)[1:] for c, x in zip(problem.coefficients, rows, strict=True)]
    expected = sum(s * e[:, 1:] for s, e in zip(shares, problem.experts, strict=True)) / sum(shares)
    assert_same(merged[:, 1:], expected)
    assert_same(merged[:, 0], problem.mean[:, 0])
    assert treatment == Treatment("diagonal", num_dead=1)
    assert_same(merged, merge(RegMean(alpha=0), problem, equations=equations)[0])


@given(case=measured())
def test_the_diagonal_merge_reads_diagonals_alone_and_factorises_nothing(case):
    problem, rows, num_rows = case
    grams = [x.T @ x for x in rows]
    whole = merge(DiagonalRegMean(), problem, equations=equations_of(grams, num_rows, problem))[0]
    nonsense = [np.diag(np.diag(g)) + 1e9 * (1 - np.eye(len(g))) for g in grams]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("cholesky", "cholesky_ex", "eigh", "svd", "solve", "inv"):
            patch.setattr(torch.linalg, name, None)
        again = merge(DiagonalRegMean(), problem, equations=equations_of(nonsense, num_rows, problem))[0]
    np.testing.assert_array_equal(again, whole)


def test_the_diagonal_merge_by_hand():
    # Mean squares of the two features: (4, 1) in one domain and (1, 3) in the other.
    problem = Problem(np.zeros((1, 2)), (np.array([[1.0, 2.0]]), np.array([[6.0, 10.0]])), (0.5, 0.5))
    grams = [np.array([[8.0, 3.0], [3.0, 2.0]]), np.array([[3.0, 1.0], [1.0, 9.0]])]
    merged, _ = merge(DiagonalRegMean(), problem, equations=equations_of(grams, [2, 3], problem))
    assert_same(merged, np.array([[(4 * 1 + 1 * 6) / 5, (1 * 2 + 3 * 10) / 4]]))


def test_a_table_of_embeddings_keeps_the_mean_without_data():
    problem = Problem(np.zeros((3, 2)), (np.ones((3, 2)), np.full((3, 2), 3.0)), (0.5, 0.5))
    merged, treatment = merge(DataFreeRegMean(), problem, is_linear=False)
    assert_same(merged, problem.mean)
    assert treatment == Treatment("mean", reason="not the weight of a linear layer")
