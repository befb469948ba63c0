"""Every method on task vectors against its own oracle, by hand, and where it must equal another."""

from __future__ import annotations

import numpy as np
import pytest
import task_vector_oracles as oracles
import torch
from hypothesis import given
from hypothesis import strategies as st
from task_vector_slots import ELECTING, IDENTITY, SUMMING, Problem, assert_same, merge, merge_made, problems

from fusion_ui.methods.slot import ParameterSlot

scalings, densities = st.floats(0, 2), st.floats(0.01, 1)


def slot_by_hand(*vectors: list[float], weights: tuple[float, ...] | None = None) -> ParameterSlot:
    """Task vectors around a base of zeros."""
    experts = torch.tensor(vectors, dtype=torch.float64)
    return ParameterSlot(
        "w", experts, weights or (1 / len(vectors),) * len(vectors), torch.zeros_like(experts[0]), seeds=(0,) * 9
    )


@given(problem=problems(), scaling=scalings)
def test_task_arithmetic_adds_up_task_vectors(problem: Problem, scaling: float):
    expected = problem.base + scaling * oracles.add_up(problem.rounded, problem.coefficients)
    assert_same(merge_made("task_arithmetic", problem, scaling_coefficient=scaling), expected)


@given(problem=problems(), density=densities, scaling=scalings)
def test_ties_trims_elects_and_averages(problem: Problem, density: float, scaling: float):
    trimmed = [oracles.keep_top(vector, density) for vector in problem.rounded]
    expected = problem.base + scaling * oracles.elect_and_merge(trimmed, problem.coefficients)
    assert_same(merge_made("ties", problem, density=density, scaling_coefficient=scaling), expected)


@given(problem=problems(), density=densities)
def test_dare_drops_and_rescales(problem: Problem, density: float):
    dropped = [oracles.drop_and_rescale(v, problem.uniform(i), 1 - density) for i, v in enumerate(problem.rounded)]
    added = problem.base + 0.3 * oracles.add_up(dropped, problem.coefficients)
    np.testing.assert_allclose(merge_made("dare", problem, density=density), added, rtol=1e-11, atol=1e-11)
    elected = problem.base + oracles.elect_and_merge(dropped, problem.coefficients)
    np.testing.assert_allclose(merge_made("dare_ties", problem, density=density), elected, rtol=1e-11, atol=1e-11)


@given(problem=problems(), smallest=st.floats(0, 1), largest=st.floats(0, 0.2))
def test_breadcrumbs_drops_both_ends(problem: Problem, smallest: float, largest: float):
    size = problem.base.size
    first, end = int(smallest * size), size - int(largest * size)
    kept = [oracles.keep_ranks(vector, first, end) for vector in problem.rounded]
    expected = problem.base + 0.3 * oracles.add_up(kept, problem.coefficients)
    assert_same(merge_made("breadcrumbs", problem, drop_smallest=smallest, drop_largest=largest), expected)


@given(problem=problems(), density=densities, window=st.floats(0, 1))
def test_della_drops_by_rank(problem: Problem, density: float, window: float):
    dropped = [
        oracles.drop_and_rescale(v, problem.uniform(i), oracles.drop_probabilities(v, 1 - density, window))
        for i, v in enumerate(problem.rounded)
    ]
    expected = problem.base + oracles.elect_and_merge(dropped, problem.coefficients)
    merged = merge_made("della", problem, density=density, window=window)
    np.testing.assert_allclose(merged, expected, rtol=1e-11, atol=1e-11)


@given(problem=problems(least=2), threshold=st.floats(0, 2))
def test_consensus_keeps_what_two_tasks_call_important(problem: Problem, threshold: float):
    expected = problem.base + 0.3 * oracles.consensus(problem.rounded, problem.coefficients, threshold)
    assert_same(merge_made("consensus", problem, mask_threshold=threshold), expected)


def test_ties_by_hand():
    slot = slot_by_hand([4, -1, 0, 3], [6, 5, -1, 1], [-9, 1, 2, -8])
    # Half of each: (4, ., ., 3), (6, 5, ., .), (-9, ., ., -8). Sums 1, 5, 0, -5 elect +, +, nobody, -.
    merged, treatment = merge("ties", slot, density=0.5)
    assert merged.tolist() == [5, 5, 0, -8]  # (4 + 6) / 2, 5, nothing, -8
    assert treatment.path == "task vectors"
    assert treatment.share_kept == 6 / 11  # the zero was no change
    assert treatment.share_conflicting == 2 / 4
    # At weights 1/2, 1/4, 1/4 the sums are 5/4, 5/4, 0, -1/2 times 3, and the mean of 4 and 6 leans to 4.
    weighted = slot_by_hand([4, -1, 0, 3], [6, 5, -1, 1], [-9, 1, 2, -8], weights=(0.5, 0.25, 0.25))
    np.testing.assert_allclose(merge("ties", weighted, density=0.5)[0], [14 / 3, 5, 0, -8], rtol=1e-15)


def test_ties_in_magnitude_and_in_votes_have_one_answer():
    # One of four is to be kept and two are as large: both stay, in whatever order they stand.
    for row in ([3, -3, 1, 2], [1, -3, 2, 3]):
        merged, _ = merge("ties", slot_by_hand(row), density=0.25)
        assert merged.tolist() == [value if abs(value) == 3 else 0 for value in row]
    # Equal and opposite: no sign wins, the base stays.
    assert merge("ties", slot_by_hand([1, 2], [-1, 1]), density=1)[0].tolist() == [0, 1.5]
    # 0.1 + 0.2 - 0.3 is 6e-17, or 3e-17 in another order, and no more of a majority than 0.
    for row in ([0.1, 0.2, -0.3], [-0.3, 0.2, 0.1]):
        assert merge("ties", slot_by_hand(*[[value] for value in row]), density=1)[0] == 0


def test_breadcrumbs_by_hand():
    slot = slot_by_hand([0.1, -5, 2, -0.3, 3, 1, -0.2, 0.4, 0.6, -0.5])
    merged, treatment = merge("breadcrumbs", slot, drop_smallest=0.6, drop_largest=0.1, scaling_coefficient=1)
    assert merged.tolist() == [0, 0, 2, 0, 3, 1, 0, 0, 0, 0]  # -5 is the outlier, six are below 1
    assert treatment.share_kept == 3 / 10
    everything, _ = merge("breadcrumbs", slot, drop_smallest=0.9, drop_largest=0.2)
    assert not everything.any()  # more is to be dropped than there is


def test_consensus_by_hand():
    slot = slot_by_hand([4, 1, 0, 6], [2, 1, 5, -1])
    merged, treatment = merge("consensus", slot, scaling_coefficient=1)
    # 2 >= 0.4 * 4 and 1 >= 0.4 * 1 for both; 0 < 0.4 * 5 and 1 < 0.4 * 6 leave one task each.
    assert merged.tolist() == [6, 2, 0, 0]
    assert treatment.share_kept == 2 / 4
    # Four that agree: each is a third of the other three together, which 0.4 calls unimportant and 0.3 important.
    agreeing = slot_by_hand(*[[1.0]] * 4)
    assert merge("consensus", agreeing, scaling_coefficient=1)[0] == 0
    assert merge("consensus", agreeing, scaling_coefficient=1, mask_threshold=0.3)[0] == 4
    # Exactly as large as the threshold asks, half of the other two, is large enough.
    assert merge("consensus", slot_by_hand(*[[1.0]] * 3), scaling_coefficient=1, mask_threshold=0.5)[0] == 3
    silent = slot_by_hand([1.0], [1.0], [7.0], weights=(0.5, 0.5, 0))
    assert merge("consensus", silent, scaling_coefficient=1)[0] == 3  # the third has no say and no part


def test_della_by_hand():
    # Chances of being kept 0.4, 0.5 and 0.6 by rank in the row, and divided by them.
    slot = slot_by_hand([[0.4, -1.2, 0.5], [3.0, -2.0, 0.8]])
    drawn = torch.rand((2, 3), generator=slot.generator(0)).numpy()
    chance = np.array([[0.4, 0.6, 0.5], [0.6, 0.5, 0.4]])
    vector = np.array([[1, -2, 1], [5, -4, 2]])
    np.testing.assert_allclose(
        merge("della", slot, density=0.5, window=0.2)[0], np.where(drawn < chance, vector, 0), rtol=1e-12
    )


@pytest.mark.parametrize("name", SUMMING)
@given(problem=problems(least=2), scaling=scalings)
def test_without_trimming_sums_are_task_arithmetic(name: str, problem: Problem, scaling: float):
    expected = merge_made("task_arithmetic", problem, scaling_coefficient=scaling)
    assert_same(merge_made(name, problem, scaling_coefficient=scaling, **IDENTITY[name]), expected)


@pytest.mark.parametrize("name", SUMMING)
@given(problem=problems(least=2))
def test_a_sum_over_the_number_of_experts_is_the_mean(name: str, problem: Problem):
    merged = merge_made(name, problem, scaling_coefficient=1 / len(problem.vectors), **IDENTITY[name])
    assert_same(merged, problem.slot.mean.numpy())


@pytest.mark.parametrize("name", ELECTING)
@given(problem=problems(), scaling=scalings)
def test_without_trimming_and_conflicts_an_election_is_the_mean_form_of_task_arithmetic(
    name: str, problem: Problem, scaling: float
):
    agreeing = Problem(problem.base, [abs(vector) for vector in problem.vectors], problem.weights, problem.seeds)
    expected = merge_made("task_arithmetic", agreeing, scaling_coefficient=scaling / len(problem.vectors))
    assert_same(merge_made(name, agreeing, scaling_coefficient=scaling, **IDENTITY[name]), expected)
    _, treatment = merge(name, agreeing.slot, **IDENTITY[name])
    assert treatment.share_conflicting == 0 and treatment.share_kept == 1
