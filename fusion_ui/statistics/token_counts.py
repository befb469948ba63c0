"""How often each token of the vocabulary occurs in a text: the Gram matrix of the word embedding, which is diagonal.

An embedding is a linear map of one-hot rows x, so G = sum x x^T = diag(counts). Other tables (positions, token types)
are indexed inside each architecture in a way of its own, and are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.domains.batches import Batch
from fusion_ui.tasks.inputs import model_inputs


def count_tokens(model: Any, batches: Sequence[Batch], count_padding: bool) -> dict[str, Float[Tensor, " row"]]:
    """Name of the word embedding's weight -> how often each of its rows is used, in float64.

    Args:
        model: a transformers model, which knows its word embedding.
        batches: padded token ids with their masks.
        count_padding: count padding tokens as data. Only for parity with published code.
    """
    table = model.get_input_embeddings().weight
    counts = torch.zeros(len(table), dtype=torch.float64)
    for batch in batches:
        ids = batch.input_ids.flatten() if count_padding else batch.input_ids[batch.attention_mask.bool()]
        counts += torch.bincount(ids, minlength=len(table))
        if batch.answer_mask is not None:  # encoder and decoder share their table
            ids = model_inputs(model, batch)["decoder_input_ids"]
            ids = ids.flatten() if count_padding else ids[batch.answer_mask.bool()]
            counts += torch.bincount(ids, minlength=len(table))
    return {next(name for name, parameter in model.named_parameters() if parameter is table): counts}
