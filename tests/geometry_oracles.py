"""Independent oracles for methods that look at directions and singular values: slow, float64, whole vectors.

Nothing here imports `fusion_ui`. Where the code under test decomposes a matrix, these iterate, and the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from oracles import Array


def cosine(a: Array, b: Array) -> float:
    """Cosine of the angle between two arrays, taken as vectors."""
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


def model_stock(base: Array, experts: Sequence[Array]) -> Array:
    """Jang et al. (2024) for equal coefficients: pair after pair."""
    count = len(experts)
    cosines = [cosine(a - base, b - base) for a, b in combinations(experts, 2)]
    mean_cosine = sum(cosines) / len(cosines)
    share = count * mean_cosine / (1 + (count - 1) * mean_cosine)
    return share * sum(experts) / count + (1 - share) * base


def slerp(first: Array, second: Array, position: float) -> Array:
    """The first direction turned in the plane of both by a share of their angle; length in between."""
    lengths = [np.sqrt((v * v).sum()) for v in (first, second)]
    start, end = first / lengths[0], second / lengths[1]
    across = end - (start * end).sum() * start
    height = np.sqrt((across * across).sum())
    angle = position * math.atan2(height, (start * end).sum())
    turned = math.cos(angle) * start + math.sin(angle) * across / height
    return ((1 - position) * lengths[0] + position * lengths[1]) * turned


def pulls_on_the_sphere(centre: Array, experts: Sequence[Array]) -> list[Array]:
    """log_m of every expert's direction: the tangent at the unit vector `centre` that leads there, long as the arc."""
    pulls = []
    for expert in experts:
        unit = expert / np.sqrt((expert * expert).sum())
        across = unit - (unit * centre).sum() * centre
        height = np.sqrt((across * across).sum())
        angle = math.atan2(height, (unit * centre).sum())
        pulls.append(angle / height * across if height > 0 else 0 * across)
    return pulls


def karcher_mean(experts: Sequence[Array], coefficients: Sequence[float]) -> Array:
    """Gradient descent by half a step from the heaviest expert, on whole vectors."""
    lengths = [np.sqrt((e * e).sum()) for e in experts]
    heaviest = int(np.argmax(coefficients))
    centre = experts[heaviest] / lengths[heaviest]
    for _ in range(150):
        move = 0.5 * sum(c * p for c, p in zip(coefficients, pulls_on_the_sphere(centre, experts), strict=True))
        step = np.sqrt((move * move).sum())
        if step > 0:
            centre = math.cos(step) * centre + math.sin(step) / step * move
            centre = centre / np.sqrt((centre * centre).sum())
    return sum(c * n for c, n in zip(coefficients, lengths, strict=True)) * centre


def polar_factor(matrix: Array) -> Array:
    """The nearest matrix with orthonormal columns (or rows, if wide), by Newton's iteration: no singular values."""
    if matrix.shape[0] < matrix.shape[1]:
        return polar_factor(matrix.T).T
    columns, square = np.linalg.qr(matrix)
    for _ in range(100):
        # Scaled by the determinant (Higham, 1986), else a singular value of 1e-6 would take twenty steps to come near.
        scale = abs(np.linalg.det(square)) ** (-1 / len(square))
        square = (scale * square + np.linalg.inv(scale * square).T) / 2
    return columns @ square


def iso_c(base: Array, experts: Sequence[Array], coefficients: Sequence[float]) -> Array:
    """Marczak et al. (2025) for a sum of full rank: polar factor times the mean of the polar part's trace."""
    total = sum(c * (e - base) for c, e in zip(coefficients, experts, strict=True))
    factor = polar_factor(total)
    return base + (factor * total).sum() / min(total.shape) * factor


def tsv_merge(base: Array, experts: Sequence[Array], coefficients: Sequence[float]) -> Array:
    """Gargiulo et al. (2025) with Newton's iteration for both Procrustes problems."""
    rank = min(base.shape) // len(experts)
    found = [np.linalg.svd(e - base, full_matrices=False) for e in experts]
    left = polar_factor(np.concatenate([u[:, :rank] for u, _, _ in found], 1))
    right = polar_factor(np.concatenate([v[:rank] for _, _, v in found]))
    values = np.concatenate([c * s[:rank] for c, (_, s, _) in zip(coefficients, found, strict=True)])
    return base + left @ np.diag(values) @ right


def surrogate_gram(task_vector: Array) -> Array:
    """tau tau^T / |tau|^2 of a task vector (in x out), entry by entry of its columns."""
    return sum(np.outer(column, column) for column in task_vector.T) / (task_vector**2).sum()


def wudi_gradient(
    merged: Array, base: Array, experts: Sequence[Array], coefficients: Sequence[float], alpha: float
) -> Array:
    """Gradient in W (in x out) of sum_i c_i [alpha |tau_i^T (W - W_i)|^2 + (1 - alpha) |D_i (W - W_i)|^2] / |tau_i|^2.

    D_i is diagonal and holds the length of each row of tau_i; at alpha 1 this is WUDI-Merging's loss.
    """
    total = np.zeros_like(merged)
    for expert, coefficient in zip(experts, coefficients, strict=True):
        tau = expert - base
        residual = merged - expert
        full, diagonal = tau @ (tau.T @ residual), (tau**2).sum(1)[:, None] * residual
        total += 2 * coefficient * (alpha * full + (1 - alpha) * diagonal) / (tau**2).sum()
    return total
