"""Which tensors are weights of linear maps and which way round they are stored, told by names and config alone.

Statistics know both from the modules themselves; this is for methods that need none. It holds for every architecture
that the tests merge, and a name that says otherwise than its module does only changes which of two treatments, both in
the merge report, the tensor gets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

TABLES = re.compile(r"embeddings?|embed|embed_\w+|w[tp]e|shared|relative_attention_bias")
"""Modules whose two-dimensional weight is a table with a row for each token, position or distance, not a map."""

CONV1D_MODELS = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
CONV1D_MODULES = frozenset({"c_attn", "q_attn", "c_proj", "c_fc"})
"""What GPT-2 and its kin call their `Conv1D` modules, whose weights are (in, out). Others use the same names."""


def is_linear_weight(name: str, shape: Sequence[int]) -> bool:
    """True for the weight of a linear map, False for biases, LayerNorms and tables of embeddings."""
    *_, module, kind = ("", "", *name.split("."))
    is_table = TABLES.fullmatch(module) is not None or module.endswith("_embeddings")
    return kind == "weight" and len(shape) == 2 and not is_table


def is_stored_transposed(name: str, config: Mapping[str, Any]) -> bool:
    """True where a linear weight is stored as (in, out), by the model whose config.json this is."""
    *_, module, kind = ("", "", *name.split("."))
    return kind == "weight" and module in CONV1D_MODULES and config.get("model_type") in CONV1D_MODELS
