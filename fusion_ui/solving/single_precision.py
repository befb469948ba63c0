"""Normal equations solved in float32, and how far that is from float64's solution.

A Cholesky factorisation and its solution take half the time in float32. What rounding does to them depends on the
condition number of R(alpha) and on the right sides, so it is not guessed but measured: for signs z drawn at random, one
step of iterative refinement, its residual in float64,

    r = B z - R(alpha) X z,      R(alpha) e = r

gives the error e = (X* - X) z of a solution X, and |e|^2 is |X* - X|^2 (Frobenius) on average. Rounding of right sides,
matrix and factor are all in it. With eight z the chance that it is ten times too small is one in ten million. Where e
is too large, the same step is taken for X itself, which costs less than beginning again in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.solving.normal_equations import NormalEquations, RightSides

NUM_PROBES = 8
REFINABLE = 1e-2
"""Relative errors up to here get much smaller by a step of refinement; a larger one says that float32 is lost here."""


def solve_quickly(
    equations: NormalEquations, right: RightSides, alphas: Sequence[float], tolerance: float
) -> dict[float, Float[Tensor, "out n"]]:
    """W - Wbar by alpha, for those alphas where float32 finds it to within `tolerance` of its norm.

    Args:
        right: in float64.
    """
    rounded = RightSides(right.full.float(), right.diagonal.float())
    signs = 2.0 * torch.randint(2, (right.full.shape[1], NUM_PROBES), generator=torch.Generator().manual_seed(0)) - 1
    probed = RightSides(right.full @ signs.double(), right.diagonal @ signs.double())
    scale, found = equations.scale.float()[:, None], {}

    def measure_error(solution: Tensor, alpha: float, factor: Tensor) -> float:
        x = (solution @ signs).double()
        residual = probed.at(alpha) - torch.lerp(x, equations.scaled_sum @ x, alpha)
        error = _solve(factor, residual.float())
        norm = (scale * x).norm().item()
        return (scale * error).norm().item() / norm if norm else 0.0

    for alpha in alphas:
        factor = equations.factor(alpha, torch.float32)
        if factor is None:
            continue
        solution = _solve(factor, rounded.at(alpha))
        error = measure_error(solution, alpha, factor)
        if tolerance < error <= REFINABLE:
            x = solution.double()
            residual = right.at(alpha) - torch.lerp(x, equations.scaled_sum @ x, alpha)
            solution = solution + _solve(factor, residual.float())
            error = measure_error(solution, alpha, factor)
        if error <= tolerance:
            found[alpha] = (solution * scale).T
    return found


def _solve(factor: Float[Tensor, "n n"], right: Float[Tensor, "n out"]) -> Float[Tensor, "n out"]:
    """By the two triangles, which is a tenth faster than `torch.cholesky_solve`."""
    half = torch.linalg.solve_triangular(factor, right, upper=False)
    return torch.linalg.solve_triangular(factor.T, half, upper=True)
