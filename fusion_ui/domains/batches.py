"""Tokenised texts in batches of similar length, so that little work goes into padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Int
from torch import Tensor

TOKENS_OF_A_BATCH = 100
"""What one more batch costs, in padding tokens that cost as much: a hundred small steps before and after products."""


@dataclass(frozen=True)
class EncodedText:
    """A text, or a pair of texts, as a model reads it.

    Attributes:
        ids: token ids, special tokens included.
        types: which text of a pair each token belongs to; empty where the model is not told so.
        words: where each word begins, as the position of its first token, or -1 where it has none; empty where the
            text was not given as words.
        answer: tokens of the text that should be generated from this one, its end included; empty where that is not
            known, or another kind of model reads the text.
        choices: tokens of the continuations whose likelihoods are asked for, where they are.
        num_new: tokens that are to be generated after the text, where that is asked for.
    """

    ids: tuple[int, ...]
    types: tuple[int, ...] = ()
    words: tuple[int, ...] = ()
    answer: tuple[int, ...] = ()
    choices: tuple[tuple[int, ...], ...] = ()
    num_new: int = 0

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Batch:
    """Padded token ids of a few texts, and which of the given texts they are; the rest is as of `EncodedText`.

    Attributes:
        words: padded with -1.
    """

    indices: tuple[int, ...]
    input_ids: Int[Tensor, "text token"]
    attention_mask: Int[Tensor, "text token"]
    token_type_ids: Int[Tensor, "text token"] | None = None
    words: Int[Tensor, "text word"] | None = None
    answer_ids: Int[Tensor, "text answer_token"] | None = None
    answer_mask: Int[Tensor, "text answer_token"] | None = None
    choices: tuple[tuple[tuple[int, ...], ...], ...] = ()
    num_new: int = 0


def make_batches(texts: Sequence[EncodedText], indices: Sequence[int], pad_id: int, max_tokens: int) -> Iterator[Batch]:
    """Sort the texts at `indices` by length and pad them into batches of at most `max_tokens` padded tokens, cut where
    padding and the number of batches together cost least. A longer text is a batch of its own.

    Texts of which different things are asked stay apart, and so do those with and without token types: no types are
    not the same as types of zero to every model.
    """
    order = sorted(indices, key=lambda i: (_kind(texts[i]), len(texts[i])))
    for _, group in groupby(order, key=lambda i: _kind(texts[i])):
        alike = list(group)
        for start, end in _cut([len(texts[i]) for i in alike], max_tokens):
            yield pad_batch(texts, alike[start:end], pad_id)


def _cut(lengths: Sequence[int], max_tokens: int) -> list[tuple[int, int]]:
    """Where batches of texts of growing length begin and end, by the cheapest way to cut the first 1, 2, 3, ..."""
    cheapest, begins = [0], [0]
    for end, longest in enumerate(lengths, start=1):
        most = max(1, max_tokens // max(longest, 1))
        costs = ((cheapest[begin] + (end - begin) * longest, begin) for begin in range(max(0, end - most), end))
        cost, begin = min(costs)
        cheapest.append(cost + TOKENS_OF_A_BATCH)
        begins.append(begin)
    cuts, end = list[tuple[int, int]](), len(lengths)
    while end:
        cuts.append((begins[end], end))
        end = begins[end]
    return cuts[::-1]


def pad_batch(texts: Sequence[EncodedText], indices: Sequence[int], pad_id: int) -> Batch:
    """Pad the texts at `indices`, of all of which the same is asked, on the right to the longest of them."""
    input_ids = _pad([texts[i].ids for i in indices], pad_id)
    mask = _pad([(1,) * len(texts[i]) for i in indices], 0)
    types, words = [texts[i].types for i in indices], [texts[i].words for i in indices]
    answers, choices = [texts[i].answer for i in indices], tuple(texts[i].choices for i in indices)
    return Batch(
        tuple(indices),
        input_ids,
        mask,
        token_type_ids=_pad(types, 0) if types[0] else None,
        words=_pad(words, -1) if any(words) else None,
        answer_ids=_pad(answers, pad_id) if answers[0] else None,
        answer_mask=_pad([(1,) * len(answer) for answer in answers], 0) if answers[0] else None,
        choices=choices if choices[0] else (),
        num_new=texts[indices[0]].num_new,
    )


def _kind(text: EncodedText) -> tuple[bool, bool, int, int]:
    return bool(text.types), bool(text.answer), len(text.choices), text.num_new


def _pad(rows: Sequence[tuple[int, ...]], filling: int) -> Int[Tensor, "text token"]:
    width = max(map(len, rows))
    padded = torch.full((len(rows), width), filling)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = torch.tensor(row)
    return padded
