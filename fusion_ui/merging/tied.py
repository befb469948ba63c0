"""Tables of embeddings that a model uses in several places, such as T5's for encoder, decoder and output layer.

safetensors stores a tied table once; some checkpoints hold it under several names all the same. It is merged once, and
every name gets the result: copies that differ would be loaded as tables of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from fusion_ui.checkpoints.checkpoint import GENERATORS, Checkpoint
from fusion_ui.checkpoints.layouts import is_linear_weight

OUTPUT = "lm_head.weight"
TIED = "the table of embeddings, which the output layer shares: merged as embeddings are"


def find_copies(experts: Sequence[Checkpoint]) -> Mapping[str, tuple[str, ...]]:
    """Name of a table -> other names under which every expert holds the same numbers."""
    tensors = experts[0].tensors
    if not experts[0].architecture.endswith(GENERATORS):
        return {}
    tables = sorted((name for name in tensors.names if _is_table(experts[0], name)), key=len)  # "shared" before others
    candidates = [*tables, *(name for name in tensors.names if name.endswith(OUTPUT))]
    found: dict[str, tuple[str, ...]] = {}
    for i, name in enumerate(candidates):
        if name not in {copy for copies in found.values() for copy in copies}:
            copies = tuple(other for other in candidates[i + 1 :] if _are_equal(experts, name, other))
            found |= {name: copies} if copies else {}
    return found


def is_output_table(expert: Checkpoint, name: str, copies: Mapping[str, tuple[str, ...]]) -> bool:
    """True for the table of words of a model that writes text and has no output layer of its own."""
    if not expert.architecture.endswith(GENERATORS) or not _is_table(expert, name):
        return False
    own = [other for other in expert.tensors.names if other.endswith(OUTPUT)]
    return expert.tensors.shape(name)[0] == expert.config.get("vocab_size") and {*own} <= {*copies.get(name, ())}


def _is_table(expert: Checkpoint, name: str) -> bool:
    shape = expert.tensors.shape(name)
    return name.endswith(".weight") and len(shape) == 2 and not is_linear_weight(name, shape)


def _are_equal(experts: Sequence[Checkpoint], name: str, other: str) -> bool:
    if experts[0].tensors.shape(name) != experts[0].tensors.shape(other):
        return False
    return all(torch.equal(expert.tensors.read(name), expert.tensors.read(other)) for expert in experts)
