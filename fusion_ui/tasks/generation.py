"""Text that a model writes: greedy, of bounded length, under any weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_IDS = ("bos", "eos", "pad", "decoder_start", "forced_bos", "forced_eos")


def set_greedy(model: Any) -> None:
    """Make a model write its likeliest token at each step.

    Of what came with the model only the ids that begin, end and pad a text are kept: beams, penalties and sampling
    would let two models be compared under different rules, and sizes from outside would not be bounded.
    """
    from transformers import GenerationConfig

    ids = {f"{name}_token_id": getattr(model.generation_config, f"{name}_token_id", None) for name in _IDS}
    if ids["pad_token_id"] is None:
        ids["pad_token_id"] = 0  # what fills a finished text is cut off again
    model.generation_config = GenerationConfig(do_sample=False, num_beams=1, **ids)


def end_tokens(model: Any) -> tuple[int, ...]:
    """The tokens that end a text; none where the model does not say."""
    found = model.generation_config.eos_token_id
    return () if found is None else tuple(found) if isinstance(found, list | tuple) else (int(found),)


def write_rows(
    model: Any, inputs: Mapping[str, Tensor], num_new: int, weights: Mapping[str, Tensor] | None = None
) -> Float[Tensor, "text {num_new}"]:
    """Token ids that a model writes after, or for, each text, NaN from the token on that ends it.

    Args:
        inputs: of the model's forward; a decoder alone needs texts of one length.
        weights: in place of the module's own, where given. The module is not changed.
    """
    options = {**inputs, "max_new_tokens": num_new}
    with torch.inference_mode():
        if weights is None:
            written = model.generate(**options)
        else:
            named = {f"model.{name}": tensor for name, tensor in weights.items()}
            written = torch.func.functional_call(_Writer(model), named, args=(), kwargs=options)
        start = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        return _cut(written[:, start:], end_tokens(model), num_new)


class _Writer(nn.Module):
    """`functional_call` replaces weights for a module's forward: here that is the whole of `generate`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, **options: Any) -> Tensor:
        return self.model.generate(**options)


def _cut(ids: Int[Tensor, "text token"], ends: tuple[int, ...], size: int) -> Float[Tensor, "text {size}"]:
    rows = torch.full((len(ids), size), torch.nan)
    has_ended = torch.isin(ids, torch.tensor(ends, dtype=ids.dtype)).cumsum(1) > 0
    rows[:, : ids.shape[1]] = ids.float().masked_fill(has_ended, torch.nan)
    return rows


def read_ids(row: Tensor) -> tuple[int, ...]:
    """The token ids of one row."""
    return tuple(int(token) for token in row[~row.isnan()].tolist())
