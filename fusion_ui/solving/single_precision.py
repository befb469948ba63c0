"""Normal equations solved in float32, and how far that is from float64's solution.

A Cholesky factorisation and its solution take half the time in float32. The large directions U of R(1) are solved for
by themselves (`solving.deflation`): with b = U^T B, M = alpha mu + 1 - alpha and the remainder F = R(1) U - U mu,

    R(alpha)^-1 B = U M^-1 b + R(alpha)^-1 (B - U b - alpha F M^-1 b)

of which the second term is small along U, and R(alpha)^-1 follows from the factor of the rest by Woodbury's identity.

What rounding does to a solution depends on the condition number of the rest and on the right sides, so it is not
guessed but measured: for normally distributed z, a step of iterative refinement, its residual in float64,

    r = B z - R(alpha) X z,      R(alpha) e = r

gives the error e = (X* - X) z of a solution X, and |e|^2 is |X* - X|^2 (Frobenius) on average. Rounding of right sides,
matrix and factor are all in it. With eight z the chance that it is ten times too small is one in ten million, also
where the error has one direction alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.solving.normal_equations import NormalEquations, RightSides

NUM_PROBES = 8


def solve_quickly(
    equations: NormalEquations, right: RightSides, alphas: Sequence[float], tolerance: float
) -> dict[float, Float[Tensor, "out n"]]:
    """W - Wbar by alpha, for those alphas where float32 finds it to within `tolerance` of its norm.

    Args:
        right: in float64.
    """
    large = equations.deflation
    along = large.directions.float()
    within = RightSides(large.directions.T @ right.full, large.directions.T @ right.diagonal)
    across = RightSides(
        torch.addmm(right.full, large.directions, within.full, alpha=-1).float(),
        torch.addmm(right.diagonal, large.directions, within.diagonal, alpha=-1).float(),
    )
    drawn = torch.randn(right.full.shape[1], NUM_PROBES, generator=torch.Generator().manual_seed(0))
    probes = drawn.to(equations.device)
    probed = RightSides(right.full @ probes.double(), right.diagonal @ probes.double())
    scale, found = equations.scale.float()[:, None], {}
    for alpha in alphas:
        factor = equations.factor(alpha, torch.float32)
        if factor is None:
            continue
        solve = _Inverse(factor, along, (alpha * (large.sizes - 1)).float())
        known = (within.at(alpha) / (alpha * large.sizes + 1 - alpha)[:, None]).float()
        solution = solve(torch.addmm(across.at(alpha), large.remainder.float(), known, alpha=-alpha))
        solution.addmm_(along, known)
        x = (solution @ probes).double()
        residual = probed.at(alpha) - torch.lerp(x, equations.scaled_sum @ x, alpha)
        error, size = (scale * solve(residual.float())).norm().item(), (scale * x).norm().item()
        if error <= tolerance * size:
            found[alpha] = (solution * scale).T
    return found


class _Inverse:
    """R(alpha)^-1 from the Cholesky factor of what is left without U diag(added) U^T."""

    def __init__(
        self, factor: Float[Tensor, "n n"], along: Float[Tensor, "n few"], added: Float[Tensor, " few"]
    ) -> None:
        self._factor, self._along, self._inverse_added = factor, along, torch.diag(1 / added)

    def __call__(self, right: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        both = torch.cat([right, self._along], 1)
        # By the two triangles, which is a tenth faster than `torch.cholesky_solve`.
        half = torch.linalg.solve_triangular(self._factor, both, upper=False)
        solved = torch.linalg.solve_triangular(self._factor.T, half, upper=True)
        plain, inner = solved.tensor_split([right.shape[1]], 1)
        coupling = torch.linalg.solve(self._inverse_added + self._along.T @ inner, self._along.T @ plain)
        return torch.addmm(plain, inner, coupling, alpha=-1)
