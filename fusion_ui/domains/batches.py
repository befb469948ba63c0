"""Tokenised texts in batches of similar length, so that little work goes into padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class EncodedText:
    """A text, or a pair of texts, as a model reads it.

    Attributes:
        ids: token ids, special tokens included.
        types: which text of a pair each token belongs to; empty where the model is not told so.
        words: where each word begins, as the position of its first token, or -1 where it has none; empty where the
            text was not given as words.
    """

    ids: tuple[int, ...]
    types: tuple[int, ...] = ()
    words: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Batch:
    """Padded token ids of a few texts, and which of the given texts they are.

    Attributes:
        words: as of `EncodedText`, padded with -1.
    """

    indices: tuple[int, ...]
    input_ids: Int[Tensor, "text token"]
    attention_mask: Int[Tensor, "text token"]
    token_type_ids: Int[Tensor, "text token"] | None = None
    words: Int[Tensor, "text word"] | None = None


def make_batches(texts: Sequence[EncodedText], indices: Sequence[int], pad_id: int, max_tokens: int) -> Iterator[Batch]:
    """Sort the texts at `indices` by length and pad them into batches of at most `max_tokens` padded tokens.

    Texts with and without token types stay apart: no types are not the same as types of zero to every model.
    """
    order = sorted(indices, key=lambda i: (bool(texts[i].types), len(texts[i])))
    for _, alike in groupby(order, key=lambda i: bool(texts[i].types)):
        batch: list[int] = []
        for i in alike:
            if batch and len(texts[i]) * (len(batch) + 1) > max_tokens:
                yield pad_batch(texts, batch, pad_id)
                batch = []
            batch.append(i)
        yield pad_batch(texts, batch, pad_id)


def pad_batch(texts: Sequence[EncodedText], indices: Sequence[int], pad_id: int) -> Batch:
    """Pad the texts at `indices`, all with token types or all without, on the right to the longest of them."""
    input_ids = _pad([texts[i].ids for i in indices], pad_id)
    mask = _pad([(1,) * len(texts[i]) for i in indices], 0)
    types = [texts[i].types for i in indices]
    words = [texts[i].words for i in indices]
    padded = _pad(types, 0) if types[0] else None, _pad(words, -1) if any(words) else None
    return Batch(tuple(indices), input_ids, mask, *padded)


def _pad(rows: Sequence[tuple[int, ...]], filling: int) -> Int[Tensor, "text token"]:
    width = max(map(len, rows))
    padded = torch.full((len(rows), width), filling)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = torch.tensor(row)
    return padded
