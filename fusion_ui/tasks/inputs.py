"""What a model is called with."""

from __future__ import annotations

from functools import cache
from inspect import signature

from torch import Tensor, nn

from fusion_ui.domains.batches import Batch


def model_inputs(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """What the model is called with: token types only where its forward takes them."""
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if batch.token_type_ids is not None and _takes(type(model), "token_type_ids"):
        inputs["token_type_ids"] = batch.token_type_ids
    return inputs


@cache
def _takes(kind: type[nn.Module], name: str) -> bool:
    return name in signature(kind.forward).parameters
