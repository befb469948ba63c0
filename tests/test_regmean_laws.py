"""The laws of RegMean in float64, for a single alpha (Cholesky), any (eigendecomposition) and known ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import Array

from fusion_ui.methods.regmean import RegMean
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving.normal_equations import NormalEquations
from fusion_ui.solving.treatment import Treatment

TOLERANCE = 1e-12
Merge = Callable[[ParameterSlot, float], tuple[Array, Treatment]]


@dataclass(frozen=True)
class Problem:
    """Inputs X_i (row x in), weights W_i (in x out) and coefficients, well conditioned but for the feature scales."""

    rows: tuple[Array, ...]
    experts: tuple[Array, ...]
    coefficients: tuple[float, ...]

    @property
    def grams(self) -> list[Array]:
        return [x.T @ x for x in self.rows]

    @property
    def mean(self) -> Array:
        return sum(c * w for c, w in zip(self.coefficients, self.experts, strict=True))

    @property
    def scale(self) -> Array:
        """Root mean square of each feature: what an error in a row of W must be measured against."""
        return np.sqrt(sum((x * x).mean(0) for x in self.rows))[:, None]


@st.composite
def problems(draw: st.DrawFn, min_experts: int = 1) -> Problem:
    """Random problems of random shape; features differ in scale by up to 2^20, as those of a language model do."""
    num_experts = draw(st.integers(min_experts, 4))
    num_in, num_out = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = 2.0 ** generator.integers(-10, 11, num_in)
    rows = tuple(
        generator.standard_normal((int(generator.integers(6, 10)) * num_in + 10, num_in)) * scale
        for _ in range(num_experts)
    )
    experts = tuple(generator.standard_normal((num_in, num_out)) / scale[:, None] for _ in range(num_experts))
    coefficients = generator.uniform(0.2, 1.0, num_experts)
    return Problem(rows, experts, tuple((coefficients / coefficients.sum()).tolist()))


alphas = st.one_of(st.sampled_from([0.0, 0.1, 0.9, 0.999]), st.floats(0, 1, exclude_max=True))
all_alphas = st.one_of(st.just(1.0), alphas)


def make_slot(
    grams: Sequence[Array], num_rows: Sequence[int], experts: Sequence[Array], coefficients: Sequence[float]
) -> ParameterSlot:
    """A float64 slot; weights are (out, in) there, as modules store them."""
    weights = tuple(float(c) for c in coefficients)
    equations = NormalEquations(
        tuple(torch.tensor(gram) for gram in grams), tuple(num_rows), weights, dtype=torch.float64
    )
    stacked = torch.stack([torch.tensor(w.T.copy()) for w in experts])
    return ParameterSlot("layer.weight", stacked, weights, equations=equations)


def slot_of(problem: Problem, experts: Sequence[Array] | None = None) -> ParameterSlot:
    num_rows = [len(x) for x in problem.rows]
    return make_slot(problem.grams, num_rows, experts or problem.experts, problem.coefficients)


def merge_plainly(slot: ParameterSlot, alpha: float) -> tuple[Array, Treatment]:
    merged, treatment = RegMean(alpha=alpha).merge_parameter(slot)
    return merged.numpy().T, treatment


def merge_prepared(slot: ParameterSlot, alpha: float) -> tuple[Array, Treatment]:
    merged, treatment = RegMean.prepare_parameter(slot)(RegMean(alpha=alpha))
    return merged.numpy().T, treatment


def merge_known(slot: ParameterSlot, alpha: float) -> tuple[Array, Treatment]:
    """As a sweep does, which says beforehand what it will ask for."""
    merged, treatment = RegMean.prepare_parameter(slot, [RegMean(alpha=alpha)])(RegMean(alpha=alpha))
    return merged.numpy().T, treatment


every_path = pytest.mark.parametrize(
    "merge", [merge_plainly, merge_prepared, merge_known], ids=["plain", "prepared", "known"]
)


def assert_same(merged: Array, expected: Array, scale: Array | float = 1.0, tolerance: float = TOLERANCE) -> None:
    size = np.abs(expected * scale).max()
    error = np.abs((merged - expected) * scale).max()
    assert error <= tolerance * max(size, 1.0), f"differs by {error:.1e} where the size is {size:.1e}"


@every_path
@given(problem=problems())
def test_alpha_1_is_least_squares(merge: Merge, problem: Problem):
    expected = oracles.regmean_by_least_squares(problem.rows, problem.experts, problem.coefficients, 1.0)
    assert_same(merge(slot_of(problem), 1.0)[0], expected, problem.scale)


@every_path
@given(problem=problems(), alpha=alphas)
def test_smaller_alpha_is_least_squares_with_rows_of_the_diagonal_added(merge: Merge, problem: Problem, alpha: float):
    expected = oracles.regmean_by_least_squares(problem.rows, problem.experts, problem.coefficients, alpha)
    assert_same(merge(slot_of(problem), alpha)[0], expected, problem.scale)


@every_path
@given(problem=problems())
def test_alpha_0_is_the_mean_of_each_feature_weighted_by_its_mean_square(merge: Merge, problem: Problem):
    shares = [c * (x * x).mean(0)[:, None] for c, x in zip(problem.coefficients, problem.rows, strict=True)]
    expected = sum(s * w for s, w in zip(shares, problem.experts, strict=True)) / sum(shares)
    assert_same(merge(slot_of(problem), 0.0)[0], expected, problem.scale)


@given(problem=problems(), alpha=all_alphas)
def test_plain_prepared_and_printed_formula_agree(problem: Problem, alpha: float):
    slot, num_rows = slot_of(problem), [len(x) for x in problem.rows]
    # The printed formula is solved for scaled features: unscaled, it is the oracle that would lose the digits.
    scaled = [gram / (problem.scale * problem.scale.T) for gram in problem.grams]
    experts = [w * problem.scale for w in problem.experts]
    expected = oracles.regmean_by_formula(scaled, num_rows, experts, problem.coefficients, alpha)
    for merge in (merge_plainly, merge_prepared, merge_known):
        assert_same(merge(slot, alpha)[0] * problem.scale, expected)
    assert merge_prepared(slot, alpha)[1].path == "eigen"
    assert merge_plainly(slot, alpha)[1].path == ("eigen" if alpha > 0.999 else "cholesky")


@every_path
@given(problem=problems(), alpha=all_alphas)
def test_identical_experts_return_the_expert(merge: Merge, problem: Problem, alpha: float):
    experts = [problem.experts[0]] * len(problem.rows)
    assert_same(merge(slot_of(problem, experts), alpha)[0], problem.experts[0], problem.scale)


@every_path
@given(problem=problems(), alpha=all_alphas)
def test_equal_grams_give_the_mean(merge: Merge, problem: Problem, alpha: float):
    count = len(problem.experts)
    slot = make_slot(problem.grams[:1] * count, [len(problem.rows[0])] * count, problem.experts, problem.coefficients)
    assert_same(merge(slot, alpha)[0], problem.mean, problem.scale)


@every_path
@given(problem=problems(), alpha=all_alphas, seed=st.integers(0, 2**32 - 1))
def test_multiples_of_the_identity_give_the_mean_weighted_by_them(
    merge: Merge, problem: Problem, alpha: float, seed: int
):
    factors = np.random.default_rng(seed).uniform(0.1, 10, len(problem.experts))
    grams = [k * np.eye(len(problem.scale)) for k in factors]
    # Equal row counts: dividing by them must not take the factors away.
    slot = make_slot(grams, [7] * len(grams), problem.experts, problem.coefficients)
    shares = factors * problem.coefficients
    expected = sum(s * w for s, w in zip(shares, problem.experts, strict=True)) / shares.sum()
    assert_same(merge(slot, alpha)[0], expected, problem.scale)


@every_path
@given(problem=problems(), alpha=all_alphas, exponent=st.floats(-20, 20))
def test_a_common_scale_of_all_grams_changes_nothing(merge: Merge, problem: Problem, alpha: float, exponent: float):
    scaled = [10.0**exponent * gram for gram in problem.grams]
    slot = make_slot(scaled, [len(x) for x in problem.rows], problem.experts, problem.coefficients)
    assert_same(merge(slot, alpha)[0], merge(slot_of(problem), alpha)[0], problem.scale)


@every_path
@given(problem=problems(), alpha=all_alphas)
def test_text_given_twice_weighs_no_more(merge: Merge, problem: Problem, alpha: float):
    twice = Problem((np.tile(problem.rows[0], (2, 1)), *problem.rows[1:]), problem.experts, problem.coefficients)
    assert_same(merge(slot_of(twice), alpha)[0], merge(slot_of(problem), alpha)[0], problem.scale)


@every_path
@given(problem=problems(min_experts=2), alpha=all_alphas)
def test_scaling_the_gram_of_one_expert_pulls_towards_it(merge: Merge, problem: Problem, alpha: float):
    grams = [100 * problem.grams[0], *problem.grams[1:]]
    slot = make_slot(grams, [len(x) for x in problem.rows], problem.experts, problem.coefficients)
    before, after = merge(slot_of(problem), alpha)[0], merge(slot, alpha)[0]
    distance = [np.linalg.norm((w - problem.experts[0]) * problem.scale) for w in (before, after)]
    assert distance[1] < 0.8 * distance[0]


@every_path
@given(problem=problems(min_experts=2), alpha=all_alphas)
def test_unequal_grams_do_not_give_the_mean(merge: Merge, problem: Problem, alpha: float):
    # Guards against Grams that are measured and then never reach the merge.
    merged, reference = merge(slot_of(problem), alpha)[0], problem.mean
    assert np.abs((merged - reference) * problem.scale).max() > 1e-6


@every_path
@given(problem=problems(min_experts=2), alpha=all_alphas)
def test_the_order_of_experts_does_not_matter(merge: Merge, problem: Problem, alpha: float):
    turned = Problem(problem.rows[::-1], problem.experts[::-1], problem.coefficients[::-1])
    assert_same(merge(slot_of(turned), alpha)[0], merge(slot_of(problem), alpha)[0], problem.scale)


@every_path
@given(problem=problems(min_experts=2), alpha=all_alphas)
def test_an_expert_with_coefficient_0_has_no_part(merge: Merge, problem: Problem, alpha: float):
    alone = Problem(problem.rows, problem.experts, (1.0, *[0.0] * (len(problem.rows) - 1)))
    assert_same(merge(slot_of(alone), alpha)[0], problem.experts[0], problem.scale)


@every_path
@given(problem=problems(), alpha=all_alphas)
def test_the_base_plus_merged_task_vectors_is_the_merge(merge: Merge, problem: Problem, alpha: float):
    base = np.roll(problem.experts[-1], 1, axis=1) + 0.5 / problem.scale
    merged = merge(slot_of(problem, [w - base for w in problem.experts]), alpha)[0]
    assert_same(base + merged, merge(slot_of(problem), alpha)[0], problem.scale)


@every_path
@given(problem=problems(min_experts=3), alpha=all_alphas)
def test_merging_one_after_the_other_with_summed_grams_is_merging_at_once(merge: Merge, problem: Problem, alpha: float):
    count, num_rows = len(problem.rows), 50
    merged, gram = problem.experts[0], problem.grams[0]
    for done in range(1, count):
        # The sum stands for `done` experts: so many times the rows, and so much of the coefficient.
        coefficients = (done / (done + 1), 1 / (done + 1))
        experts = [merged, problem.experts[done]]
        slot = make_slot([gram, problem.grams[done]], [done * num_rows, num_rows], experts, coefficients)
        merged, gram = merge(slot, alpha)[0], gram + problem.grams[done]
    at_once = make_slot(problem.grams, [num_rows] * count, problem.experts, [1 / count] * count)
    assert_same(merged, merge(at_once, alpha)[0], problem.scale)


@every_path
@given(problem=problems(), gamma=st.floats(0.001, 100))
def test_alpha_is_the_ridge_of_the_paper(merge: Merge, problem: Problem, gamma: float):
    ridged = [gram + gamma * np.diag(np.diag(gram)) for gram in problem.grams]
    slot = make_slot(ridged, [len(x) for x in problem.rows], problem.experts, problem.coefficients)
    assert_same(merge(slot_of(problem), 1 / (1 + gamma))[0], merge(slot, 1.0)[0], problem.scale)
