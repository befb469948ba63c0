"""Which examples of a domain a statistic is measured on."""

from __future__ import annotations

import random


def sample_indices(num_available: int, num_examples: int, seed: int) -> list[int]:
    """`num_examples` positions drawn without repetition, the same everywhere for a seed; all if there are fewer."""
    order = list(range(num_available))
    random.Random(seed).shuffle(order)
    return sorted(order[:num_examples])
