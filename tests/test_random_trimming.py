"""Drop and rescale: right on average, one choice an expert, and the same choice for the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import task_vector_oracles as oracles
import torch
from hypothesis import given
from hypothesis import strategies as st
from task_vector_slots import Problem, merge, merge_made, problems

from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.methods.trimming import drop_and_rescale, rank_probabilities

NUM_SEEDS = 4000
VECTOR = torch.tensor([[0.5, -3.0, 1.0, 0.01], [2.0, -0.1, 0.7, -1.5]], dtype=torch.float64)


def average_over_seeds(probability: float | torch.Tensor) -> torch.Tensor:
    """The mean over fixed seeds, so that the test that reads it has one outcome, today and always."""
    total = torch.zeros_like(VECTOR)
    for seed in range(NUM_SEEDS):
        total += drop_and_rescale(VECTOR, probability, torch.Generator().manual_seed(seed))
    return total / NUM_SEEDS


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.9])
def test_the_expectation_of_what_dare_leaves_is_the_task_vector(probability: float):
    # An entry has variance tau^2 (1 - q) / q at chance q; five standard errors are the bound.
    bound = 5 * VECTOR.abs() * ((1 - probability) / probability / NUM_SEEDS) ** 0.5
    assert ((average_over_seeds(probability) - VECTOR).abs() <= bound).all()


@pytest.mark.parametrize(("density", "window"), [(0.5, 0.4), (0.1, 0.15), (0.9, 1.0)])
def test_the_expectation_of_what_della_leaves_is_the_task_vector(density: float, window: float):
    chance = rank_probabilities(VECTOR, density, window)
    bound = 5 * VECTOR.abs() * ((1 - chance) / chance / NUM_SEEDS) ** 0.5
    assert ((average_over_seeds(chance) - VECTOR).abs() <= bound + 1e-12).all()


@given(problem=problems(), density=st.floats(0.01, 1), window=st.floats(0, 1))
def test_chances_rise_with_magnitude_around_the_density(problem: Problem, density: float, window: float):
    vector = problem.vectors[0]
    chance = rank_probabilities(torch.tensor(vector), density, window).numpy()
    np.testing.assert_allclose(chance, 1 - oracles.drop_probabilities(vector, 1 - density, window), atol=1e-12)
    rows = chance.reshape(vector.shape[0] if vector.ndim > 1 else 1, -1)
    np.testing.assert_allclose(rows.mean(1), density, rtol=1e-12)
    assert rows.min() >= -1e-12 and rows.max() <= 1 + 1e-12


def test_rows_ranked_in_parts_are_ranked_alike(monkeypatch: pytest.MonkeyPatch):
    vector = torch.randn(11, 5, generator=torch.Generator().manual_seed(0))
    whole = rank_probabilities(vector, 0.5, 0.2)
    monkeypatch.setattr("fusion_ui.methods.trimming.ROWS_AT_ONCE", 3)
    assert torch.equal(rank_probabilities(vector, 0.5, 0.2), whole)


def large_slot(*seeds: int) -> ParameterSlot:
    """Experts that each changed every one of 20,000 entries by 1."""
    return ParameterSlot(
        "w", torch.ones(len(seeds), 200, 100), (1 / len(seeds),) * len(seeds), torch.zeros(200, 100), seeds=seeds
    )


@pytest.mark.parametrize("name", ["dare", "dare_ties", "della"])
def test_the_share_kept_is_the_density_and_is_reported(name: str):
    merged, treatment = merge(name, large_slot(0), density=0.3, scaling_coefficient=1)
    assert treatment.share_kept == np.count_nonzero(merged) / merged.size
    assert abs(treatment.share_kept - 0.3) < 5 * (0.3 * 0.7 / merged.size) ** 0.5


def test_experts_draw_their_own_entries_and_a_seed_draws_the_same():
    first, second = (merge("dare", large_slot(seed), density=0.5)[0] != 0 for seed in (1, 2))
    share_both = (first & second).mean()  # a quarter if they are independent
    assert abs(share_both - 0.25) < 5 * (0.25 * 0.75 / first.size) ** 0.5
    assert np.array_equal(first, merge("dare", large_slot(1), density=0.5)[0] != 0)


@given(problem=problems(), density=st.floats(0.01, 1))
def test_without_a_window_della_is_dare_ties(problem: Problem, density: float):
    merged = merge_made("della", problem, density=density, window=0)
    assert np.array_equal(merged, merge_made("dare_ties", problem, density=density))


def test_float32_draws_the_same_entries_as_float64():
    slot = large_slot(5)
    double = replace(slot, experts=slot.experts.double(), base=torch.zeros(200, 100, dtype=torch.float64))
    assert np.array_equal(merge("dare", slot)[0] != 0, merge("dare", double)[0] != 0)
