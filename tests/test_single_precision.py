"""Normal equations solved in float32: what is accepted is near the float64 solution, what is not is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusion_ui.methods.regmean import RegMean
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving import deflation, known_alphas
from fusion_ui.solving.known_alphas import NODE_TOLERANCE, TOLERANCE
from fusion_ui.solving.normal_equations import NormalEquations, RightSides
from fusion_ui.solving.single_precision import solve_quickly

ALPHAS = [0.1, 0.9, 0.99, 0.999]


def slot_with(common: float, num_in: int = 40, num_out: int = 6, seed: int = 0) -> ParameterSlot:
    """Activations that share a direction `common` times as strong as all others: the larger, the worse conditioned."""
    random = np.random.default_rng(seed)
    rows = [random.standard_normal((60, num_in)) + common * random.standard_normal((60, 1)) for _ in "ab"]
    equations = NormalEquations(tuple(torch.tensor(x.T @ x) for x in rows), (60, 60), (0.5, 0.5), dtype=torch.float64)
    experts = torch.tensor(random.standard_normal((2, num_out, num_in)))
    return ParameterSlot("layer.weight", experts, (0.5, 0.5), equations=equations)


def right_of(slot: ParameterSlot) -> tuple[NormalEquations, RightSides]:
    assert slot.equations is not None
    return slot.equations, slot.equations.right_sides(slot.deltas)


def exact_update(equations: NormalEquations, right: RightSides, alpha: float) -> torch.Tensor:
    """By a general solver in float64, unscaled."""
    return torch.linalg.solve(equations.sum_grams(alpha), right.at(alpha) / equations.scale[:, None]).T


@given(
    common=st.floats(-1, 4).map(lambda x: 10**x),
    tolerance=st.floats(-7, -3).map(lambda x: 10**x),
    seed=st.integers(0, 99),
)
def test_what_is_accepted_is_within_the_tolerance(common, tolerance, seed):
    equations, right = right_of(slot_with(common, seed=seed))
    for alpha, update in solve_quickly(equations, right, ALPHAS, tolerance).items():
        assert update.dtype == torch.float32
        exact = exact_update(equations, right, alpha)
        assert (update - exact).norm() < (3 * tolerance + 1e-6) * exact.norm()


def test_an_error_of_two_rows_that_cancel_is_seen():
    equations, _ = right_of(slot_with(1.0))
    half = torch.tensor(np.random.default_rng(1).standard_normal((40, 1)))
    right = RightSides(torch.cat([half, -half], 1), torch.cat([half, -half], 1))
    assert [*solve_quickly(equations, right, ALPHAS, NODE_TOLERANCE)] == ALPHAS
    assert solve_quickly(equations, right, ALPHAS, 1e-12) == {}


def test_large_directions_cost_no_digits_and_what_does_is_refused(monkeypatch: pytest.MonkeyPatch):
    equations, right = right_of(slot_with(1e4))
    assert equations.deflation.directions.shape == (40, 1)
    found = solve_quickly(equations, right, ALPHAS, NODE_TOLERANCE)
    exact = exact_update(equations, right, 0.999)
    assert (found[0.999] - exact).norm() < 3 * NODE_TOLERANCE * exact.norm()
    assert solve_quickly(equations, right, ALPHAS, 1e-12) == {}
    monkeypatch.setattr(deflation, "LARGE", float("inf"))
    found = solve_quickly(*right_of(slot_with(1e4)), ALPHAS, NODE_TOLERANCE)
    assert 0.1 in found and 0.999 not in found


def test_no_digit_hangs_on_how_well_the_directions_are_known(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(deflation, "NUM_STEPS", 1)
    monkeypatch.setattr(deflation, "LARGE", 1.5)
    equations, right = right_of(slot_with(0.5))
    assert equations.deflation.remainder.norm() > 0.1
    found = solve_quickly(equations, right, ALPHAS, NODE_TOLERANCE)
    for alpha in found:
        exact = exact_update(equations, right, alpha)
        assert (found[alpha] - exact).norm() < 1e-5 * exact.norm()
    assert 0.1 in found


def test_experts_that_agree_are_left_alone():
    slot = slot_with(1.0)
    right = RightSides(*(torch.zeros(40, 6, dtype=torch.float64) for _ in range(2)))
    assert slot.equations is not None
    found = solve_quickly(slot.equations, right, ALPHAS, NODE_TOLERANCE)
    assert [*found] == ALPHAS and not any(update.any() for update in found.values())


@pytest.mark.parametrize("common", [1.0, 1e4], ids=["in float32", "partly in float64"])
def test_many_alphas_are_within_the_tolerance_of_float64_either_way(monkeypatch, common: float):
    monkeypatch.setattr(known_alphas, "num_worth_a_spectrum", lambda width: 10**6)
    slot, alphas = slot_with(common), [round(0.01 + 0.98 * k / 24, 3) for k in range(24)] + [0.999]
    equations, right = right_of(slot)
    finish = RegMean.prepare_parameter(slot, [RegMean(alpha=alpha) for alpha in alphas])
    exact = {alpha: exact_update(equations, right, alpha) for alpha in alphas}
    largest = max(update.norm() for update in exact.values())
    for alpha in alphas:
        merged, treatment = finish(RegMean(alpha=alpha))
        assert treatment.path == "interpolated"
        assert (merged - slot.mean - exact[alpha]).norm() < TOLERANCE * largest
