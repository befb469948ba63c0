"""Many alphas that are known beforehand: interpolated or not, each is the solution for its own alpha."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_regmean_laws import problems, slot_of

from fusion_ui.methods.data_free_regmean import DataFreeRegMean
from fusion_ui.methods.regmean import RegMean
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving import known_alphas
from fusion_ui.solving.known_alphas import TOLERANCE, node_shares, num_worth_a_spectrum, place_nodes, solve_known
from fusion_ui.solving.normal_equations import NormalEquations

TWENTY = [round(0.05 + 0.045 * k, 3) for k in range(20)]
intervals = st.tuples(st.floats(1e-4, 0.999), st.floats(1e-4, 0.999)).map(sorted)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every input counts as so wide that its eigendecomposition is never worth it."""
    monkeypatch.setattr(known_alphas, "num_worth_a_spectrum", lambda width: 10**6)


def slot_with(num_in: int, num_out: int, seed: int = 0) -> ParameterSlot:
    """Activations with a common direction, so that the scaled Gram has one large eigenvalue and many small ones."""
    random = np.random.default_rng(seed)
    rows = [random.standard_normal((4 * num_in, num_in)) + 3 * random.standard_normal((4 * num_in, 1)) for _ in "abc"]
    grams = tuple(torch.tensor(x.T @ x) for x in rows)
    equations = NormalEquations(grams, (4 * num_in,) * 3, (0.2, 0.3, 0.5), dtype=torch.float64)
    experts = torch.tensor(random.standard_normal((3, num_out, num_in)))
    return ParameterSlot("layer.weight", experts, (0.2, 0.3, 0.5), equations=equations)


def exact(slot: ParameterSlot, alpha: float) -> torch.Tensor:
    assert slot.equations is not None
    return slot.equations.solve(alpha, slot.mean, slot.deltas)[0]


@given(interval=intervals, share=st.floats(0, 1), eigenvalue=st.floats(-12, 4).map(lambda x: 10**x))
def test_a_single_eigenvalue_is_interpolated_within_the_tolerance(interval, share, eigenvalue):
    low, high = interval
    nodes = place_nodes(low, high)
    alpha = min(max(low + share * (high - low), low), high)

    def responses(a: float) -> list[float]:
        return [a / (a * eigenvalue + 1 - a), (1 - a) / (a * eigenvalue + 1 - a)]

    shares = node_shares(nodes, alpha)
    for kind in (0, 1):
        found = math.fsum(share * responses(node)[kind] for share, node in zip(shares, nodes, strict=True))
        largest = max(responses(a)[kind] for a in (low, high))
        assert abs(found - responses(alpha)[kind]) <= TOLERANCE * largest
    assert math.fsum(shares) == pytest.approx(1)


def test_twenty_alphas_of_a_wide_input_are_interpolated_from_about_half_as_many(wide):
    slot = slot_with(24, 7)
    finish = RegMean.prepare_parameter(slot, [RegMean(alpha=alpha) for alpha in TWENTY])
    assert len(place_nodes(TWENTY[0], TWENTY[-1])) <= 12
    for alpha in TWENTY:
        merged, treatment = finish(RegMean(alpha=alpha))
        update = exact(slot, alpha) - slot.mean
        error = (merged - slot.mean - update).norm() / update.norm()
        assert treatment.path == "interpolated" and 0 < error < TOLERANCE


def test_few_alphas_have_a_factorisation_each_and_the_same_bits_in_any_company(wide):
    slot = slot_with(24, 7)
    finish = RegMean.prepare_parameter(slot, [RegMean(alpha=alpha) for alpha in (0.0, 0.2, 0.9)])
    for alpha in (0.2, 0.9):
        merged, treatment = finish(RegMean(alpha=alpha))
        assert treatment.path == "cholesky" and torch.equal(merged, exact(slot, alpha))
    torch.testing.assert_close(finish(RegMean(alpha=0.0))[0], exact(slot, 0.0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("alphas", [TWENTY, [0.2, 0.9]], ids=["interpolated", "each"])
def test_an_alpha_that_was_not_asked_for_is_refused_rather_than_guessed(wide, alphas):
    slot = slot_with(6, 2)
    with pytest.raises(KeyError):
        RegMean.prepare_parameter(slot, [RegMean(alpha=alpha) for alpha in alphas])(RegMean(alpha=0.123))


@pytest.mark.parametrize("alphas", [[], [0.3, 1.0], TWENTY], ids=["any", "with one", "many, narrow"])
def test_otherwise_one_eigendecomposition_serves_all(alphas):
    slot = slot_with(6, 2)
    assert slot.equations is not None
    solve = solve_known(slot.equations, slot.mean, slot.deltas, alphas)
    assert {solve(alpha)[1].path for alpha in alphas or [0.5]} == {"eigen"}


def test_the_wider_the_input_the_more_alphas_an_eigendecomposition_must_serve():
    counts = [num_worth_a_spectrum(width) for width in (16, 384, 768, 1024, 1536, 3072, 4096)]
    assert counts == sorted(counts) and counts[0] >= 1 and counts[-1] > len(place_nodes(0.05, 0.95))


def test_alphas_next_to_nothing_are_placed():
    assert all(0 < node < 1 for node in place_nodes(5e-324, 0.5))


def test_a_gram_that_is_none_is_solved_by_its_eigenvalues_as_for_a_single_alpha(wide):
    slot = slot_with(6, 2)
    broken = tuple(3 * gram - 2 * torch.diag(gram.diagonal()) for gram in slot.equations.grams)
    equations = NormalEquations(broken, slot.equations.num_rows, slot.weights, dtype=torch.float64)
    solve = solve_known(equations, slot.mean, slot.deltas, [0.5, 0.99])
    assert solve(0.99)[1].path == "eigen"


@given(problem=problems())
def test_the_data_free_method_knows_its_alphas_too(problem):
    slot = slot_of(problem)
    slot = ParameterSlot(slot.name, slot.experts, slot.weights, base=torch.zeros_like(slot.mean), is_linear=True)
    finish = DataFreeRegMean.prepare_parameter(slot, [DataFreeRegMean(alpha=0.7)])
    merged, treatment = DataFreeRegMean(alpha=0.7).merge_parameter(slot)
    assert torch.equal(finish(DataFreeRegMean(alpha=0.7))[0], merged) and treatment.path in ("cholesky", "mean")
