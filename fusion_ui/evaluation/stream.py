"""Rows of a model (a classifier's logits) on several domains, in chunks that grow, so that first numbers come at once.

Examples stand in one fixed random order, so after every chunk each domain's score is that of a random sample and all
models answer the same sentences. A chunk takes equally many sentences from every domain and sorts them by length.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fusion_ui.domains.batches import Batch, EncodedText, make_batches
from fusion_ui.domains.domain import Domain
from fusion_ui.progress import Progress
from fusion_ui.tasks.metrics import Metric
from fusion_ui.tasks.task import Target, Task, join_rows
from fusion_ui.tasks.tokenizer import Tokenizer

Logits = dict[str, Float[Tensor, "_ ..."]]
"""Domain name -> rows of its first examples, in evaluation order; a classifier's rows are logits."""

FIRST_CHUNK, SECOND_CHUNK, FULL_CHUNK = 8, 50, 100
"""Examples a domain after the first and second chunk; from then on in steps of the last."""


@dataclass(frozen=True, eq=False)
class EncodedDomain:
    """A domain in evaluation order, tokenised, its labels as what the task compares answers with.

    Attributes:
        targets: what each example should be answered with; empty where that is not known.
        label_names: the labels among which models choose.
        order: where each example stands in `domain`.
    """

    domain: Domain
    texts: tuple[EncodedText, ...]
    targets: tuple[Target, ...]
    order: tuple[int, ...]
    task: Task
    metric: Metric
    label_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def find_right(self, rows: Float[Tensor, "_ ..."]) -> Bool[Tensor, " _"]:
        """Which of the first examples, as many as there are rows, are answered just as they should be."""
        return self.task.find_right(rows, self.targets[: len(rows)])


def encode_domain(domain: Domain, task: Task, tokenizer: Tokenizer, label_names: tuple[str, ...]) -> EncodedDomain:
    """Tokenise a domain and put it into evaluation order.

    Raises:
        DomainError: a label means nothing to the model, or the task has no metric of the domain's.
    """
    task = task.for_domain(domain, tokenizer)
    targets = task.read_targets(domain, label_names, tokenizer)
    order = list(range(len(targets)))
    random.Random(0).shuffle(order)
    texts = task.encode(domain, order, tokenizer)
    metric = task.find_metric(domain.metric, label_names)
    return EncodedDomain(
        domain, tuple(texts), tuple(targets[i] for i in order), tuple(order), task, metric, label_names
    )


def chunk_ends(num_examples: int) -> list[int]:
    """How many examples a domain are done after each chunk."""
    ends = [FIRST_CHUNK, SECOND_CHUNK, *range(FULL_CHUNK, num_examples, FULL_CHUNK)]
    return [end for end in ends if end < num_examples] + [num_examples]


def compute_chunk(
    compute: Callable[[Batch], Float[Tensor, "text ..."]],
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
            extended[name] = join_rows([*known.get(name, ()), *new])
    return extended
