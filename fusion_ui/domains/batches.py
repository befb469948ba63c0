"""Tokenised texts in batches of similar length, so that little work goes into padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

TokenIds = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Batch:
    """Padded token ids of a few texts, and which of the given texts they are."""

    indices: tuple[int, ...]
    input_ids: Int[Tensor, "text token"]
    attention_mask: Int[Tensor, "text token"]


def make_batches(tokens: Sequence[TokenIds], indices: Sequence[int], pad_id: int, max_tokens: int) -> Iterator[Batch]:
    """Sort the texts at `indices` by length and pad them into batches of at most `max_tokens` padded tokens."""
    order = sorted(indices, key=lambda i: len(tokens[i]))
    batch: list[int] = []
    for i in order:
        if batch and len(tokens[i]) * (len(batch) + 1) > max_tokens:
            yield pad_batch(tokens, batch, pad_id)
            batch = []
        batch.append(i)
    if batch:
        yield pad_batch(tokens, batch, pad_id)


def pad_batch(tokens: Sequence[TokenIds], indices: Sequence[int], pad_id: int) -> Batch:
    """Pad the texts at `indices` on the right to the longest of them."""
    width = max(len(tokens[i]) for i in indices)
    input_ids = torch.full((len(indices), width), pad_id)
    mask = torch.zeros(len(indices), width, dtype=torch.long)
    for row, i in enumerate(indices):
        input_ids[row, : len(tokens[i])] = torch.tensor(tokens[i])
        mask[row, : len(tokens[i])] = 1
    return Batch(tuple(indices), input_ids, mask)
