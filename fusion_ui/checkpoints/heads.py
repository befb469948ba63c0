"""Which tensors of a classifier have one row a label."""

from __future__ import annotations

from collections.abc import Iterable

OUTPUT_LAYERS = ("classifier", "classifier.out_proj", "score", "classification_head.out_proj")
"""The last layer of transformers' classifiers, whatever the architecture."""


def output_parameters(names: Iterable[str]) -> frozenset[str]:
    """Those of a classifier's tensors that have one row a label; empty where the output layer is not known."""
    return frozenset(names) & {f"{layer}.{part}" for layer in OUTPUT_LAYERS for part in ("weight", "bias")}
