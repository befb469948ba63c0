"""RegMean where the equations have no unique solution, and one example small enough to be done by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_regmean_laws import (
    Merge,
    Problem,
    all_alphas,
    assert_same,
    every_path,
    make_slot,
    merge_plainly,
    merge_prepared,
    problems,
    slot_of,
)

from fusion_ui.methods.regmean import RegMean
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving.normal_equations import NormalEquations


@every_path
def test_an_example_by_hand(merge: Merge):
    # G_1 = [2 1; 1 2], G_2 = [4 0; 0 2], one row and one output each, W_1 = (1, 0), W_2 = (0, 1).
    slot = make_slot(
        [np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[4.0, 0.0], [0.0, 2.0]])],
        [1, 1],
        [np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]])],
        [0.5, 0.5],
    )
    # alpha = 0: (2 * 1 + 4 * 0) / 6 and (2 * 0 + 2 * 1) / 4.
    assert_same(merge(slot, 0.0)[0], np.array([[1 / 3], [1 / 2]]))
    # alpha = 1/2: [6 1/2; 1/2 4] W = (2, 1/2) + (0, 2) = (2, 5/2); the determinant is 95/4.
    assert_same(merge(slot, 0.5)[0], np.array([[27 / 95], [56 / 95]]))
    # alpha = 1: [6 1; 1 4] W = (2, 1) + (0, 2) = (2, 3); the determinant is 23.
    assert_same(merge(slot, 1.0)[0], np.array([[5 / 23], [16 / 23]]))


@every_path
@given(problem=problems(), alpha=all_alphas, dead=st.sets(st.integers(0, 5)))
def test_features_never_active_keep_the_mean(merge: Merge, problem: Problem, alpha: float, dead: set[int]):
    is_dead = np.array([feature in dead for feature in range(len(problem.scale))])
    rows = tuple(np.where(is_dead, 0.0, x) for x in problem.rows)
    merged, treatment = merge(slot_of(dataclasses.replace(problem, rows=rows)), alpha)
    assert treatment.num_dead == is_dead.sum()
    assert treatment.num_cut == 0  # not mistaken for a singular direction
    np.testing.assert_allclose(merged[is_dead], problem.mean[is_dead], rtol=1e-12)
    if not is_dead.all():
        # The living features are merged as if the dead ones were not there.
        alive = Problem(
            tuple(x[:, ~is_dead] for x in problem.rows),
            tuple(w[~is_dead] for w in problem.experts),
            problem.coefficients,
        )
        expected = oracles.regmean_by_least_squares(alive.rows, alive.experts, alive.coefficients, alpha)
        assert_same(merged[~is_dead], expected, alive.scale)


def test_a_feature_active_in_one_expert_only_is_that_experts():
    rows = (np.array([[1.0, 2.0], [3.0, 1.0]]), np.array([[1.0, 0.0], [2.0, 0.0]]))
    experts = (np.array([[1.0], [2.0]]), np.array([[5.0], [7.0]]))
    merged, treatment = merge_plainly(slot_of(Problem(rows, experts, (0.5, 0.5))), 0.0)
    assert treatment.num_dead == 0
    assert merged[1, 0] == pytest.approx(2.0, abs=1e-12)


def with_rounding(slot: ParameterSlot, rounding: float) -> ParameterSlot:
    """The same slot with a cut-off far above what float64 leaves in a singular direction, on any machine."""
    return dataclasses.replace(slot, equations=dataclasses.replace(slot.equations, rounding=rounding))


def behind_layer_norm(seed: int, num_in: int) -> Problem:
    """Two experts whose inputs sum to zero: one direction is constant whatever the data, as behind a LayerNorm."""
    generator = np.random.default_rng(seed)
    scale = 2.0 ** generator.integers(-3, 4, num_in)
    rows = generator.standard_normal((2, 20 * num_in, num_in))
    rows = (rows - rows.mean(-1, keepdims=True)) * scale
    return Problem(tuple(rows), tuple(generator.standard_normal((2, num_in, 3))), (0.5, 0.5))


@every_path
@given(seed=st.integers(0, 2**32 - 1), num_in=st.integers(2, 8))
def test_alpha_1_behind_a_layer_norm_is_finite_and_says_what_was_cut(merge: Merge, seed: int, num_in: int):
    problem = behind_layer_norm(seed, num_in)
    slot = with_rounding(slot_of(problem), 1e-11)
    merged, treatment = merge(slot, 1.0)
    assert np.isfinite(merged).all()
    assert (treatment.path, treatment.num_cut, treatment.num_dead) == ("eigen", 1, 0)
    # It solves the normal equations, so it is as good a fit as any ...
    grams = [gram / len(x) for gram, x in zip(problem.grams, problem.rows, strict=True)]
    gradient = sum(gram @ (merged - w) for gram, w in zip(grams, problem.experts, strict=True))
    assert_same(gradient / problem.scale, np.zeros_like(gradient), tolerance=1e-9)
    # ... and in the direction in which every fit is as good, which is 1 / scale, it stays at the mean.
    diagonal = sum(np.diag(gram) for gram in grams)[:, None]
    constant = np.linalg.svd(np.concatenate(problem.rows))[2][-1][:, None]
    assert_same((constant * diagonal * (merged - problem.mean)).sum(0), np.zeros(3), tolerance=1e-9)


@pytest.mark.parametrize(("eigenvalue", "num_cut"), [(0.0027, 1), (0.003, 0)])
def test_the_cut_off_is_where_it_is_said_to_be(eigenvalue: float, num_cut: int):
    # R = [1 r; r 1] has the eigenvalues 1 - r and 1 + r; with rounding 0.001 the cut-off is
    # sqrt(2) * 0.001 * (1 + r), which is 0.00282 for r near 1.
    r = 1 - eigenvalue
    gram = np.array([[1.0, r], [r, 1.0]])
    slot = with_rounding(make_slot([gram] * 2, [1, 1], [np.ones((2, 1)), np.zeros((2, 1))], [0.5, 0.5]), 0.001)
    assert merge_prepared(slot, 1.0)[1].num_cut == num_cut
    assert merge_prepared(slot, 0.9)[1].num_cut == 0


@every_path
def test_alpha_1_with_grams_stored_in_float32_moves_no_further_than_the_experts_are_apart(merge: Merge):
    problem = behind_layer_norm(seed=1, num_in=64)
    slot = slot_of(problem)
    grams = tuple(torch.tensor(gram).float() for gram in problem.grams)
    rounding = torch.finfo(torch.float32).eps
    equations = NormalEquations(grams, slot.equations.num_rows, slot.weights, rounding, torch.float64)
    merged, treatment = merge(dataclasses.replace(slot, equations=equations), 1.0)
    assert treatment.num_cut == 1
    moved = np.linalg.norm((merged - problem.mean) * problem.scale)
    apart = np.linalg.norm((problem.experts[0] - problem.experts[1]) * problem.scale)
    assert moved < apart


def test_below_1_nothing_is_cut_and_every_path_agree_on_a_singular_gram():
    slot = slot_of(behind_layer_norm(seed=2, num_in=8))
    (plain, cholesky), (prepared, eigen) = merge_plainly(slot, 0.9), merge_prepared(slot, 0.9)
    assert (cholesky.path, cholesky.num_cut, eigen.num_cut) == ("cholesky", 0, 0)
    assert_same(plain, prepared)


def test_fewer_rows_than_features_is_solved_too():
    generator = np.random.default_rng(3)
    problem = Problem(
        tuple(generator.standard_normal((2, 3, 10))), tuple(generator.standard_normal((2, 10, 2))), (0.5, 0.5)
    )
    slot = slot_of(problem)
    for merge in (merge_plainly, merge_prepared):
        expected = oracles.regmean_by_least_squares(problem.rows, problem.experts, problem.coefficients, 0.9)
        assert_same(merge(slot, 0.9)[0], expected)
        merged, treatment = merge(with_rounding(slot, 1e-11), 1.0)
        assert treatment.num_cut == 4  # two times three rows span six of ten directions
        # With more directions than rows, the fit is perfect on the rows of both.
        for x, w in zip(problem.rows, problem.experts, strict=True):
            assert_same(x @ merged, x @ w, tolerance=1e-9)


def test_a_silent_layer_keeps_the_mean():
    slot = make_slot([np.zeros((2, 2))] * 2, [5, 5], [np.ones((2, 1)), np.zeros((2, 1))], [0.25, 0.75])
    for merge in (merge_plainly, merge_prepared):
        for alpha in (0.0, 0.9, 1.0):
            merged, treatment = merge(slot, alpha)
            assert_same(merged, np.full((2, 1), 0.25))
            assert treatment.num_dead == 2


def test_a_prepared_weight_serves_every_alpha_in_any_order():
    problem = behind_layer_norm(seed=4, num_in=6)
    slot = slot_of(problem)
    finish = RegMean.prepare_parameter(slot)
    for alpha in (0.9, 0.0, 1.0, 0.5, 0.9):
        assert torch.equal(finish(RegMean(alpha=alpha))[0], RegMean.prepare_parameter(slot)(RegMean(alpha=alpha))[0])
