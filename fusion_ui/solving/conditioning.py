"""How well a layer's normal equations determine its merged weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fusion_ui.solving.normal_equations import NormalEquations


@dataclass(frozen=True)
class Conditioning:
    """Condition numbers at one alpha, features never active left aside.

    Attributes:
        before: of S(alpha), the sum of the Gram matrices as they are; None where it is singular, or so nearly that
            float64 does not tell.
        after: of R(alpha), the same with a unit diagonal, over the directions that were solved for.
        smallest: smallest eigenvalue of R(alpha), of directions cut off too; at least 1 - alpha but for rounding.
    """

    before: float | None
    after: float
    smallest: float


def measure_conditioning(equations: NormalEquations, alpha: float, num_cut: int = 0) -> Conditioning:
    """Condition numbers before and after scaling.

    Args:
        num_cut: directions of the smallest eigenvalues that were cut off and kept the mean.
    """
    values = alpha * equations.eigenvalues + (1 - alpha)
    after, smallest = (values[-1] / values[num_cut]).item(), values[0].item()
    if num_cut:
        return Conditioning(None, after, smallest)
    alive = equations.scale > 0
    before = torch.linalg.eigvalsh(equations.sum_grams(alpha)[alive][:, alive])
    is_told = len(before) and before[0] > len(before) * torch.finfo(torch.float64).eps * before[-1]
    return Conditioning((before[-1] / before[0]).item() if is_told else None, after, smallest)
