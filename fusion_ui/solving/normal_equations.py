"""RegMean's normal equations: scaled, in delta form, factorised once for every alpha.

With row inputs x W (W is in x out), normalised Grams Gbar_i = G_i / N_i and coefficients c_i, the merged weight is
(Jin et al., ICLR 2023, equation 2, with the non-diagonal scaling alpha)

    Gt_i = alpha Gbar_i + (1 - alpha) diag(Gbar_i),      S = sum_i c_i Gt_i
    W    = Wbar + S^-1 sum_i c_i Gt_i (W_i - Wbar)

The delta form is exact for any Wbar and loses no digits to the part that all experts share. D = diag(S) does not
depend on alpha and removes the spread of feature scales: R = D^-1/2 S D^-1/2 has a unit diagonal and

    R(alpha) = alpha R(1) + (1 - alpha) I = Q (alpha L + 1 - alpha) Q^T     with R(1) = Q L Q^T

so one eigendecomposition serves every alpha, and eigenvalues of R(alpha) are at least 1 - alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.solving.deflation import Deflation, deflate
from fusion_ui.solving.treatment import Treatment

NEVER_ACTIVE = 1e-30
"""Mean square, relative to the largest feature's, up to which a feature counts as never active: its activations are
then 1e-15 of the largest, which no float64 sum carries to the layer's output. MiniLM has two such features."""

KEPT_FACTORS = 256 << 20
"""Bytes of Cholesky factors that are kept for other weights with the same input."""


@dataclass(frozen=True, eq=False)
class RightSides:
    """D^-1/2 sum_i c_i Gt_i (W_i - Wbar) for every alpha.

    Attributes:
        full: with the whole Grams, alpha = 1.
        diagonal: with their diagonals alone, alpha = 0.
    """

    full: Float[Tensor, "n out"]
    diagonal: Float[Tensor, "n out"]

    def at(self, alpha: float) -> Float[Tensor, "n out"]:
        """For one alpha."""
        return torch.lerp(self.diagonal, self.full, alpha)


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """The Gram matrices of one layer input under every expert, and how the experts are weighted.

    Layers that see the same input (query, key and value) share one object, and so one factorisation.

    Attributes:
        grams: every expert's Gram, a sum over rows.
        num_rows: rows summed in each expert's Gram; dividing makes experts weigh equally whatever their data's size.
        weights: coefficients c_i.
        rounding: relative rounding of the Gram's entries, which sets the eigenvalue cut-off.
        dtype: of the solution; factorisations are float64 unless `factor` is asked for float32.
    """

    grams: tuple[Float[Tensor, "n n"], ...]
    num_rows: tuple[int, ...]
    weights: tuple[float, ...]
    rounding: float = torch.finfo(torch.float64).eps
    dtype: torch.dtype = torch.float32

    @property
    def width(self) -> int:
        """Features of the input."""
        return self.grams[0].shape[0]

    @property
    def device(self) -> torch.device:
        """Where the Grams lie and everything is solved."""
        return self.grams[0].device

    @property
    def factors(self) -> list[float]:
        """c_i / N_i of every expert."""
        return [weight / rows for weight, rows in zip(self.weights, self.num_rows, strict=True)]

    @cached_property
    def diagonals(self) -> Float[Tensor, "expert n"]:
        """diag(c_i Gbar_i) of every expert; needs no other entry of the Grams."""
        pairs = zip(self.grams, self.factors, strict=True)
        return torch.stack([gram.diagonal().double() * factor for gram, factor in pairs])

    @cached_property
    def scale(self) -> Float[Tensor, " n"]:
        """D^-1/2, with 0 for a feature that was never active in any expert."""
        diagonal = self.diagonals.sum(0)
        return torch.where(diagonal > NEVER_ACTIVE * diagonal.max(), diagonal.rsqrt(), 0.0)

    @property
    def num_dead(self) -> int:
        """Features that were never active: their weights keep the mean."""
        return int((self.scale == 0).sum())

    def sum_grams(self, alpha: float = 1.0) -> Float[Tensor, "n n"]:
        """S(alpha) = sum_i c_i Gt_i, in float64."""
        total = torch.zeros(self.width, self.width, dtype=torch.float64, device=self.device)
        for gram, factor in zip(self.grams, self.factors, strict=True):
            total.add_(gram, alpha=alpha * factor)
        total.diagonal().copy_(self.diagonals.sum(0))
        return total

    @cached_property
    def scaled_sum(self) -> Float[Tensor, "n n"]:
        """R(1), with a unit diagonal (also for dead features, which stand alone)."""
        total = self.sum_grams()
        total *= self.scale[:, None]
        total *= self.scale
        total.diagonal().fill_(1.0)
        return total

    @cached_property
    def deflation(self) -> Deflation:
        """R(1) as what float32 can hold, and its few large directions."""
        return deflate(self.scaled_sum)

    def right_sides(self, deltas: Float[Tensor, "expert out n"]) -> RightSides:
        """The right sides for weights that differ from their mean by `deltas`."""
        full = torch.zeros(deltas.shape[2], deltas.shape[1], dtype=torch.float64, device=self.device)
        for gram, factor, delta in zip(self.grams, self.factors, deltas, strict=True):
            full.addmm_(gram.double(), delta.double().T, alpha=factor)
        diagonal = (deltas.double() * self.diagonals[:, None]).sum(0).T
        return RightSides(full * self.scale[:, None], diagonal * self.scale[:, None])

    @cached_property
    def spectrum(self) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
        """L (ascending) and Q of R(1), in float64."""
        values, vectors = torch.linalg.eigh(self.scaled_sum)
        return values, vectors

    @cached_property
    def eigenvalues(self) -> Float[Tensor, " n"]:
        """L alone, for a third of the time where the spectrum is not known."""
        if "spectrum" in vars(self):
            return self.spectrum[0]
        return torch.linalg.eigvalsh(self.scaled_sum)

    @cached_property
    def basis(self) -> Float[Tensor, "n n"]:
        """D^-1/2 Q in the dtype of the result, on the CPU: it is kept."""
        return (self.spectrum[1] * self.scale[:, None]).to(self.dtype).cpu()

    @cached_property
    def _known_factors(self) -> dict[tuple[float, torch.dtype], Tensor]:
        return {}

    def factor(self, alpha: float, dtype: torch.dtype = torch.float64) -> Float[Tensor, "n n"] | None:
        """The Cholesky factor of R(alpha), in float32 without its large directions.

        None where it is not positive definite, so no sum of Grams as measured.
        """
        known, key = self._known_factors, (alpha, dtype)
        if key not in known:
            matrix = (self.scaled_sum if dtype == torch.float64 else self.deflation.rest) * alpha
            matrix.diagonal().add_(1 - alpha)
            found, failed = torch.linalg.cholesky_ex(matrix)
            if failed:
                return None
            while known and (len(known) + 1) * found.nbytes > KEPT_FACTORS:
                known.pop(next(iter(known)))
            known[key] = found
        return known[key]

    def find_update(self, alpha: float, right: RightSides) -> Float[Tensor, "out n"] | None:
        """W - Wbar by a Cholesky factorisation, in float64; None where there is no factor."""
        factor = self.factor(alpha)
        if factor is None:
            return None
        return (torch.cholesky_solve(right.at(alpha), factor) * self.scale[:, None]).T

    def factorise(self, mean: Float[Tensor, "out n"], deltas: Float[Tensor, "expert out n"]) -> FactorisedEquations:
        """The costly half: everything that does not depend on alpha. Pays for itself from a few alphas on.

        What comes of it lies on the CPU, wherever the Grams do: it is kept for the whole model, and the rest is cheap.
        """
        values, vectors = self.spectrum
        right = self.right_sides(deltas)
        return FactorisedEquations(
            values=values.cpu(),
            cutoff=len(values) ** 0.5 * self.rounding * values[-1].item(),
            basis=self.basis,
            full=(vectors.T @ right.full).to(self.dtype).cpu(),
            diagonal=(vectors.T @ right.diagonal).to(self.dtype).cpu(),
            mean=mean.T.to(self.dtype).contiguous().cpu(),
            num_dead=self.num_dead,
        )

    def solve(
        self, alpha: float, mean: Float[Tensor, "out n"], deltas: Float[Tensor, "expert out n"]
    ) -> tuple[Float[Tensor, "out n"], Treatment]:
        """The merged weight by one Cholesky factorisation: the cheapest way for a single alpha below 1."""
        update = self.find_update(alpha, self.right_sides(deltas))
        if update is None:  # the report then says "eigen"
            return self.factorise(mean, deltas).solve(alpha)
        return mean + update.to(mean.dtype), Treatment("cholesky", num_dead=self.num_dead)

    def solve_diagonal(
        self, mean: Float[Tensor, "out n"], deltas: Float[Tensor, "expert out n"]
    ) -> tuple[Float[Tensor, "out n"], Treatment]:
        """The merged weight for alpha 0, feature by feature: nothing is factorised."""
        shares = (self.diagonals * self.scale.square()).to(mean.dtype)
        merged = mean.clone()
        for share, delta in zip(shares, deltas, strict=True):
            merged.addcmul_(share, delta)
        return merged, Treatment("diagonal", num_dead=self.num_dead)


@dataclass(frozen=True, eq=False)
class FactorisedEquations:
    """One weight's solution for every alpha: the cheap half, one matrix product.

        W = Wbar + D^-1/2 Q diag(1 / (alpha L + 1 - alpha)) [alpha A + (1 - alpha) B]

    Attributes:
        values: L, the eigenvalues of R(1).
        cutoff: eigenvalue below which R(alpha) counts as singular: sqrt(n) x rounding x largest eigenvalue.
        basis: D^-1/2 Q, one object for all weights that see the same input.
        full, diagonal: A and B, the right sides in the basis Q.
        mean: Wbar, as (in, out).
        num_dead: features never active.
    """

    values: Float[Tensor, " n"]
    cutoff: float
    basis: Float[Tensor, "n n"]
    full: Float[Tensor, "n out"]
    diagonal: Float[Tensor, "n out"]
    mean: Float[Tensor, "n out"]
    num_dead: int

    def solve(self, alpha: float) -> tuple[Float[Tensor, "out n"], Treatment]:
        """The merged weight. Directions with an eigenvalue below the cut-off keep the mean."""
        values = alpha * self.values + (1 - alpha)
        kept = values > self.cutoff
        inverse = torch.where(kept, 1 / values, 0.0).to(self.full.dtype)[:, None]
        coordinates = (self.full * (alpha * inverse)).addcmul_(self.diagonal, (1 - alpha) * inverse)
        num_cut = int((~kept).sum())
        merged = torch.addmm(self.mean, self.basis, coordinates).T
        return merged, Treatment("eigen", num_cut=num_cut, num_dead=self.num_dead)
