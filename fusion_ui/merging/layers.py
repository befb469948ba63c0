"""How deep in its model a parameter lies, told by its name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fusion_ui.checkpoints.layouts import TABLES

LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?|albert_layer_groups)\.(\d+)\.")
"""A layer and its number: BERT's `encoder.layer.3.`, Llama's `layers.3.`, GPT-2's `h.3.`, T5's `block.3.`.

ALBERT's layers share the weights of their group, which therefore is one layer.
"""


def layer_of(name: str) -> int | None:
    """Number of the layer that a parameter belongs to, from 0; None for embeddings, poolers, heads and final norms.

    An encoder's and a decoder's layers are both counted from 0.
    """
    found = LAYER.search(name)  # the first, for T5's blocks have layers of their own
    return int(found[1]) if found else None


def count_layers(names: Iterable[str]) -> int:
    """How many layers a model with parameters of these names has; 0 where its names do not tell."""
    return max((layer + 1 for name in names if (layer := layer_of(name)) is not None), default=0)


def depth_of(name: str, num_layers: int) -> float:
    """0 for embeddings and the first layer, 1 for the last layer and all that comes after it, such as the head.

    A single layer is the last.
    """
    layer = layer_of(name)
    if layer is None:
        return 0.0 if _is_before_layers(name) else 1.0
    return layer / (num_layers - 1) if num_layers > 1 else 1.0


def _is_before_layers(name: str) -> bool:
    """True for embeddings, their norms and projections, and what stands beside them before the first layer."""
    return any("embed" in part or part == "project_in" or TABLES.fullmatch(part) for part in name.split("."))
