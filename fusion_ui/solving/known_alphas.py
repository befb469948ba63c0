"""One weight for alphas that are known beforehand, as a sweep's are: by the cheapest of three ways.

An eigendecomposition costs as much as several Cholesky factorisations, the more the wider the input, and serves every
alpha. Where fewer alphas are asked for, each has its own factorisation. Where more are asked for than that and the
input is wide, some alphas are solved for, in float32 where that is near enough, and the others interpolated: with
t = (1 - alpha) / alpha the update is

    D^-1/2 (R(1) + t I)^-1 (A + t B)

whose poles, in s = log t, lie at log L + i pi whatever the eigenvalues L are. So polynomials through Chebyshev nodes in
s converge geometrically, and an interval of s needs the same number of nodes for every layer of every model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.solving.normal_equations import NormalEquations, RightSides
from fusion_ui.solving.single_precision import solve_quickly
from fusion_ui.solving.treatment import Treatment

NEARLY_SINGULAR = 0.999
"""Above this alpha R(alpha) may be singular: a LayerNorm leaves one direction constant. That needs a cut-off."""

TOLERANCE = 2e-4
"""Of the largest update among the alphas: how far an interpolated one may be from the exact one."""

NODE_TOLERANCE = TOLERANCE / 5
"""Of the update: how far rounding may move one that others are interpolated from. Shares of nodes add up to less than 3
in absolute value, and interpolation itself takes about half of the tolerance."""

COST_OF_A_NODE = 0.5
"""Of a factorisation and solution in float64."""

Solve = Callable[[float], tuple[Tensor, Treatment]]
"""From alpha to a merged weight and what was done to it."""


def solve_known(
    equations: NormalEquations,
    mean: Float[Tensor, "out n"],
    deltas: Float[Tensor, "expert out n"],
    alphas: Collection[float] = (),
) -> Solve:
    """Do the costly work for some alphas, or for any where none is named, and return the cheap rest."""
    wanted = sorted({alpha for alpha in alphas if alpha > 0})
    if not alphas or (wanted and wanted[-1] > NEARLY_SINGULAR):
        return equations.factorise(mean, deltas).solve
    nodes = place_nodes(wanted[0], wanted[-1]) if wanted else []
    is_interpolated = len(nodes) < len(wanted)
    solved = nodes if is_interpolated else wanted
    cost = len(solved) * (COST_OF_A_NODE if is_interpolated else 1)
    if cost > num_worth_a_spectrum(equations.width):
        return equations.factorise(mean, deltas).solve
    right = equations.right_sides(deltas)
    updates = _solve_nodes(equations, solved, right) if is_interpolated else _solve_each(equations, solved, right)
    found = {alpha: update.to(mean.dtype).cpu() for alpha, update in updates.items() if update is not None}
    if len(found) < len(solved):  # the report then says "eigen"
        return equations.factorise(mean, deltas).solve
    interpolated = frozenset(wanted if is_interpolated else ())
    kept, (at_zero, treatment) = mean.cpu(), equations.solve_diagonal(mean, deltas)
    stacked = torch.stack([*found.values()]) if found else kept[None][:0]
    return KnownSolutions(tuple(found), stacked, kept, (at_zero.cpu(), treatment), interpolated).solve


def _solve_each(equations: NormalEquations, alphas: Sequence[float], right: RightSides) -> dict[float, Tensor | None]:
    return {alpha: equations.find_update(alpha, right) for alpha in alphas}


def _solve_nodes(equations: NormalEquations, nodes: Sequence[float], right: RightSides) -> dict[float, Tensor | None]:
    """Updates at the nodes, in float64 where float32 is not near enough."""
    quick = solve_quickly(equations, right, nodes, NODE_TOLERANCE)
    exact = _solve_each(equations, [alpha for alpha in nodes if alpha not in quick], right)
    return {alpha: quick.get(alpha, exact.get(alpha)) for alpha in nodes}


def num_worth_a_spectrum(width: int) -> int:
    """How many Cholesky factorisations and solutions cost less than an eigendecomposition and its products."""
    return 3 if width <= 1024 else width // 110


def place_nodes(low: float, high: float) -> list[float]:
    """Alphas from which all alphas in [low, high] are interpolated: Chebyshev nodes in log((1 - alpha) / alpha)."""
    if low == high:
        return [low]
    start, stop = _place(high), _place(low)
    middle, half = (start + stop) / 2, (stop - start) / 2
    ratio = math.pi / half
    growth = ratio + math.hypot(ratio, 1.0)  # of the largest ellipse around the interval that reaches no pole
    count = math.ceil(math.log(2 / TOLERANCE) / math.log(growth))
    cosines = [math.cos((2 * k + 1) * math.pi / (2 * count)) for k in range(count)]
    return [_alpha_at(middle + half * cosine) for cosine in cosines]


def _place(alpha: float) -> float:
    """s = log((1 - alpha) / alpha), also for an alpha whose inverse is no number."""
    return math.log1p(-alpha) - math.log(alpha)


def _alpha_at(place: float) -> float:
    return 1 / (1 + math.exp(place)) if place < 0 else math.exp(-place) / (1 + math.exp(-place))


def node_shares(nodes: Collection[float], alpha: float) -> list[float]:
    """What each node contributes at `alpha`, by the barycentric formula; the shares sum to one."""
    if alpha in nodes:
        return [float(node == alpha) for node in nodes]
    places = [_place(node) for node in nodes]
    place, count = _place(alpha), len(places)
    terms = [
        (-1) ** k * math.sin((2 * k + 1) * math.pi / (2 * count)) / (place - node) for k, node in enumerate(places)
    ]
    return [term / math.fsum(terms) for term in terms]


@dataclass(frozen=True, eq=False)
class KnownSolutions:
    """Updates at some alphas.

    Attributes:
        alphas: where they are known.
        updates: W - Wbar at each.
        mean: Wbar.
        at_zero: the solution for alpha 0.
        interpolated: the alphas that may be asked for where those of `updates` are nodes; empty where they are not.
    """

    alphas: tuple[float, ...]
    updates: Float[Tensor, "alpha out n"]
    mean: Float[Tensor, "out n"]
    at_zero: tuple[Float[Tensor, "out n"], Treatment]
    interpolated: frozenset[float]

    def solve(self, alpha: float) -> tuple[Float[Tensor, "out n"], Treatment]:
        """The merged weight.

        Raises:
            KeyError: `alpha` is none of those that were asked for.
        """
        if alpha == 0:
            return self.at_zero
        num_dead = self.at_zero[1].num_dead
        if alpha not in (self.interpolated or self.alphas):
            raise KeyError(alpha)
        if not self.interpolated:
            return self.mean + self.updates[self.alphas.index(alpha)], Treatment("cholesky", num_dead=num_dead)
        shares = torch.tensor(node_shares(self.alphas, alpha), dtype=self.mean.dtype)
        return self.mean + torch.tensordot(shares, self.updates, 1), Treatment("interpolated", num_dead=num_dead)
