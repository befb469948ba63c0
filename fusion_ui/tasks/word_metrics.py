"""How well words are tagged: F1 of entities, and accuracy of single words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fusion_ui.tasks.entities import entity_kinds, entity_tags, find_entities
from fusion_ui.tasks.metrics import Counts, Metric, micro_f1, share
from fusion_ui.tasks.sequence_classification import find_answers

Tags = tuple[int, ...]
"""The position of every word's label."""


def is_read(rows: Float[Tensor, "*example word label"]) -> Bool[Tensor, "*example word"]:
    """Which words a model gave an answer for; of the others no label is known."""
    return ~rows.isnan().all(-1)


def is_right(rows: Float[Tensor, "example word label"], targets: Sequence[Tags]) -> Bool[Tensor, "example word"]:
    """Which words have the answer that they should have; nonsense for words that were not read."""
    truth = torch.full(rows.shape[:-1], -1)
    for place, tags in zip(truth, targets, strict=True):
        place[: len(tags)] = torch.tensor(tags)
    return find_answers(rows) == truth


def _count_words(rows: Tensor, targets: Sequence[Tags]) -> Counts:
    read = is_read(rows)
    return torch.stack([(is_right(rows, targets) & read).sum(-1), read.sum(-1)], -1).double()


def _count_entities(tags: tuple[str, ...], rows: Tensor, targets: Sequence[Tags]) -> Counts:
    """(tp, fp, fn) of every kind of entity in turn, among the words that were read."""
    kinds = entity_kinds(tags)
    counts = []
    for answer, read, target in zip(find_answers(rows).tolist(), is_read(rows).tolist(), targets, strict=True):
        # Rows are as long as the sentence with most words that were answered together, and a target as its own.
        true = find_entities(tuple(tags[i] for i, known in zip(target, read, strict=False) if known))
        found = find_entities(tuple(tags[i] for i, known in zip(answer, read, strict=True) if known))
        parts = [Counter(kind for kind, _, _ in part) for part in (true & found, found - true, true - found)]
        counts.append([part[kind] for kind in kinds for part in parts])
    return torch.tensor(counts, dtype=torch.float64).reshape(len(rows), 3 * len(kinds))


def entity_f1(label_names: tuple[str, ...] = ()) -> Metric:
    """F1 of entities, right where kind, first and last word are: seqeval's micro average, for tags of these names."""
    return Metric("entity_f1", "Entity F1", partial(_count_entities, entity_tags(label_names)), micro_f1)


# Not a share of examples: words of one sentence are not independent, so its interval is over sentences.
WORD_ACCURACY = Metric("word_accuracy", "Word accuracy", _count_words, share)
