"""Oracles of the methods on task vectors: plain loops over entries, written from the papers' equations.

Nothing here imports `fusion_ui`. Coefficients c_i are those that make equal experts count 1 each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from oracles import Array


def add_up(vectors: Sequence[Array], coefficients: Sequence[float]) -> Array:
    """sum_i c_i tau_i (Ilharco et al., section 2)."""
    total = np.zeros_like(vectors[0])
    for index in np.ndindex(total.shape):
        total[index] = math.fsum(c * vector[index] for c, vector in zip(coefficients, vectors, strict=True))
    return total


def keep_ranks(vector: Array, first: int, end: int) -> Array:
    """The entries whose rank by magnitude, 0 for the smallest, lies in [first, end); the others zero."""
    order = sorted(np.ndindex(vector.shape), key=lambda index: abs(vector[index]))
    kept = np.zeros_like(vector)
    for rank, index in enumerate(order):
        if first <= rank < end:
            kept[index] = vector[index]
    return kept


def keep_top(vector: Array, density: float) -> Array:
    """TIES, Algorithm 1, step 1: the top floor(density n) entries, and never none."""
    return keep_ranks(vector, vector.size - max(1, math.floor(density * vector.size)), vector.size)


def elect_and_merge(vectors: Sequence[Array], coefficients: Sequence[float]) -> Array:
    """TIES, Algorithm 1, steps 2 and 3: the sign with the larger mass, then the mean of those that have it."""
    merged = np.zeros_like(vectors[0])
    for index in np.ndindex(merged.shape):
        values = [(c, vector[index]) for c, vector in zip(coefficients, vectors, strict=True)]
        mass = {sign: math.fsum(c * abs(v) for c, v in values if v * sign > 0) for sign in (1, -1)}
        if mass[1] == mass[-1]:
            continue
        elected = max(mass, key=lambda sign: mass[sign])
        agreeing = [(c, v) for c, v in values if v * elected > 0]
        merged[index] = math.fsum(c * v for c, v in agreeing) / math.fsum(c for c, _ in agreeing)
    return merged


def drop_and_rescale(vector: Array, uniform: Array, drop_probability: Array | float) -> Array:
    """DARE: with probability p an entry becomes zero, otherwise tau / (1 - p); `uniform` decides, in [0, 1)."""
    p = np.broadcast_to(drop_probability, vector.shape)
    kept = np.zeros_like(vector)
    for index in np.ndindex(vector.shape):
        if uniform[index] < 1 - p[index]:
            kept[index] = vector[index] / (1 - p[index])
    return kept


def drop_probabilities(vector: Array, p: float, window: float) -> Array:
    """DELLA, MagPrune: p_min + r epsilon / (n - 1) with r = 0 for the largest of a row's n magnitudes.

    p_min = p - epsilon / 2, and the window is no wider than fits between 0 and 1.
    """
    rows = vector.reshape(vector.shape[0], -1) if vector.ndim > 1 else vector.reshape(1, -1)
    found = np.zeros_like(rows)
    epsilon = min(window, 2 * p, 2 * (1 - p))
    for row, target in zip(rows, found, strict=True):
        order = sorted(range(len(row)), key=lambda column: -abs(row[column]))
        for r, column in enumerate(order):
            target[column] = p - epsilon / 2 + r * epsilon / (len(row) - 1) if len(row) > 1 else p
    return found.reshape(vector.shape)


def consensus(vectors: Sequence[Array], coefficients: Sequence[float], threshold: float) -> Array:
    """TALL masks: m_t = 1{|tau_t| >= lambda |tau_mtl - tau_t|}, and tau_mtl where two tasks or more have m_t = 1."""
    weighted = [c * vector for c, vector in zip(coefficients, vectors, strict=True)]
    multi_task = np.zeros_like(vectors[0])
    for index in np.ndindex(multi_task.shape):
        total = math.fsum(vector[index] for vector in weighted)
        important = [abs(vector[index]) >= threshold * abs(total - vector[index]) for vector in weighted]
        multi_task[index] = total if sum(important) >= 2 else 0.0
    return multi_task
