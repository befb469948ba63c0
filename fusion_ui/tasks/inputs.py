"""What a model is called with.

A model that writes text from text is shown the right answer, shifted by one token ("teacher forcing"), where it is
known; the tokens of a text that is padded on the left have the positions that they would have without padding.
"""

from __future__ import annotations

from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from fusion_ui.domains.batches import Batch


def model_inputs(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """What the model is called with: token types and positions only where its forward takes them."""
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if batch.token_type_ids is not None and _takes(type(model), "token_type_ids"):
        inputs["token_type_ids"] = batch.token_type_ids
    if batch.answer_ids is not None and batch.answer_mask is not None:
        start = torch.full_like(batch.answer_ids[:, :1], start_token(model))
        inputs["decoder_input_ids"] = torch.cat([start, batch.answer_ids[:, :-1]], 1)
        inputs["decoder_attention_mask"] = batch.answer_mask
    if _is_causal(model) and not batch.attention_mask[:, 0].all() and _takes(type(model), "position_ids"):
        inputs["position_ids"] = (batch.attention_mask.cumsum(1) - 1).clamp(min=0)
    return inputs


def start_token(model: Any) -> int:
    """The token with which a decoder begins; -1 where the model does not say."""
    found = (getattr(config, "decoder_start_token_id", None) for config in (model.config, model.generation_config))
    return next((token for token in found if token is not None), -1)


def _is_causal(model: Any) -> bool:
    return hasattr(model, "can_generate") and model.can_generate() and not model.config.is_encoder_decoder


@cache
def _takes(kind: type[nn.Module], name: str) -> bool:
    return name in signature(kind.forward).parameters
