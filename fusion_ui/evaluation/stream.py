"""Logits of a model on several domains, in chunks that grow, so that first numbers come at once.

Examples stand in one fixed random order, so after every chunk each domain's score is that of a random sample and all
models answer the same sentences. A chunk takes equally many sentences from every domain and sorts them by length.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.domains.batches import Batch, EncodedText, make_batches
from fusion_ui.domains.domain import Domain
from fusion_ui.progress import Progress
from fusion_ui.tasks.sequence_classification import Tokenizer

Logits = dict[str, Float[Tensor, "_ label"]]
"""Domain name -> logits of its first examples, in evaluation order."""

FIRST_CHUNK, SECOND_CHUNK, FULL_CHUNK = 8, 50, 100
"""Examples a domain after the first and second chunk; from then on in steps of the last."""


@dataclass(frozen=True, eq=False)
class EncodedDomain:
    """A domain in evaluation order, tokenised, its labels as positions in the model's label names.

    Attributes:
        order: where each example stands in `domain`.
    """

    domain: Domain
    texts: tuple[EncodedText, ...]
    labels: tuple[int, ...]
    order: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)


def encode_domain(domain: Domain, tokenizer: Tokenizer, label_names: tuple[str, ...]) -> EncodedDomain:
    """Tokenise a domain and put it into evaluation order.

    Raises:
        DomainError: a label is not one of the model's.
    """
    labels = domain.encode_labels(label_names)
    order = list(range(len(labels)))
    random.Random(0).shuffle(order)
    texts = tokenizer.encode(domain.texts, domain.pairs)
    return EncodedDomain(domain, tuple(texts[i] for i in order), tuple(labels[i] for i in order), tuple(order))


def chunk_ends(num_examples: int) -> list[int]:
    """How many examples a domain are done after each chunk."""
    ends = [FIRST_CHUNK, SECOND_CHUNK, *range(FULL_CHUNK, num_examples, FULL_CHUNK)]
    return [end for end in ends if end < num_examples] + [num_examples]


def compute_chunk(
    compute: Callable[[Batch], Float[Tensor, "text label"]],
    domains: Sequence[EncodedDomain],
    known: Logits,
    end: int,
    pad_id: int,
    max_tokens: int,
    progress: Progress,
) -> Logits:
    """Extend `known` to the first `end` examples of every domain.

    Args:
        compute: the model.
        known: domain name -> logits already computed, in evaluation order.
        progress: asked between batches whether to stop or to give way.
    """
    wanted = [
        (encoded, i)
        for encoded in domains
        for i in range(len(known.get(encoded.domain.name, ())), min(end, len(encoded)))
    ]
    texts = [encoded.texts[i] for encoded, i in wanted]
    rows: list[Tensor] = [torch.empty(0)] * len(wanted)
    for batch in make_batches(texts, range(len(texts)), pad_id, max_tokens):
        with progress.turn():
            computed = compute(batch)
        for index, row in zip(batch.indices, computed, strict=True):
            rows[index] = row
    extended = dict(known)
    for encoded in domains:
        name = encoded.domain.name
        new = [row for (owner, _), row in zip(wanted, rows, strict=True) if owner is encoded]
        if new:
            extended[name] = torch.cat([*([known[name]] if name in known else []), torch.stack(new)])
    return extended
