"""How likely a causal language model finds the tokens of a text, each given those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fusion_ui.domains.batches import Batch, EncodedText, pad_batch
from fusion_ui.tasks.inputs import model_inputs

MAX_LOGITS = 1 << 26
"""Logits that are in memory at once: one for every token of the text and every word of the vocabulary."""


def score_tokens(
    model: Any, batch: Batch, weights: Mapping[str, Tensor] | None = None
) -> tuple[Float[Tensor, "text next"], Bool[Tensor, "text next"], Bool[Tensor, "text next"]]:
    """Of every token but the first, as the one after those before it.

    Returns:
        Negative log-likelihoods, whether the token is the likeliest one, and whether both it and the token before it
        are real. The first is 0 and the second False where they are not.
    """
    size = max(1, MAX_LOGITS // (batch.input_ids.shape[1] * model.config.vocab_size))
    parts = [_score(model, part, weights) for part in _split(batch, size)]
    losses, right, is_real = (torch.cat(part) for part in zip(*parts, strict=True))
    return losses, right, is_real


def score_choices(
    model: Any, batch: Batch, weights: Mapping[str, Tensor] | None = None
) -> Float[Tensor, "text choice"]:
    """Log-likelihood of each of its choices behind every text."""
    starts = [row[mask.bool()].tolist() for row, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
    columns = []
    for choices in zip(*batch.choices, strict=True):
        whole = [EncodedText((*start, *choice)) for start, choice in zip(starts, choices, strict=True)]
        losses, _, _ = score_tokens(model, pad_batch(whole, range(len(whole)), 0), weights)
        # The loss at position p is that of token p + 1.
        ends = [(len(start) - 1, len(text) - 1) for start, text in zip(starts, whole, strict=True)]
        columns.append(torch.stack([-row[a:b].sum() for row, (a, b) in zip(losses, ends, strict=True)]))
    return torch.stack(columns, 1)


def _score(model: nn.Module, batch: Batch, weights: Mapping[str, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
    inputs = model_inputs(model, batch)
    with torch.inference_mode():
        if weights is None:
            logits = model(**inputs).logits
        else:
            logits = torch.func.functional_call(model, dict(weights), args=(), kwargs=inputs).logits
        told, expected = logits[:, :-1].float(), batch.input_ids[:, 1:]
        mask = batch.attention_mask.bool()
        is_real = mask[:, 1:] & mask[:, :-1]
        losses = cross_entropy(told.transpose(1, 2), expected, reduction="none")
        return losses.masked_fill(~is_real, 0.0), (told.argmax(-1) == expected) & is_real, is_real


def _split(batch: Batch, size: int) -> Sequence[Batch]:
    if len(batch.indices) <= size:
        return [batch]
    return [
        Batch(batch.indices[i : i + size], batch.input_ids[i : i + size], batch.attention_mask[i : i + size])
        for i in range(0, len(batch.indices), size)
    ]
