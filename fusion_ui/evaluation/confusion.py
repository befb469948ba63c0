"""Confusion: how often each label is taken for which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fusion_ui.errors import DomainError
from fusion_ui.evaluation.stream import EncodedDomain
from fusion_ui.tasks.metrics import wilson_interval
from fusion_ui.tasks.sequence_classification import find_answers


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often one model answers the examples of each label with which label.

    Attributes:
        title, split: the domain's.
        label_names: the labels that occur, as the truth or as an answer.
        counts: [true label, answer].
    """

    domain: str
    title: str
    split: str
    label_names: tuple[str, ...]
    counts: Int[Tensor, "label label"]

    @property
    def num_examples(self) -> int:
        """Examples counted."""
        return int(self.counts.sum())

    @property
    def num_correct(self) -> int:
        """Examples answered as their label says."""
        return int(self.counts.trace())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson_interval(self.num_correct, self.num_examples)

    def recall(self, label: int) -> tuple[float, float, float] | None:
        """Share of a label's examples that are answered with it, and its 95 % interval; None where there are none."""
        row = self.counts[label]
        num_correct, total = int(row[label]), int(row.sum())
        return (num_correct / total, *wilson_interval(num_correct, total)) if total else None

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "domain": self.domain,
            "split": self.split,
            "num_examples": self.num_examples,
            "accuracy": [self.num_correct / max(1, self.num_examples), *self.interval],
            "labels": list(self.label_names),
            "counts": self.counts.tolist(),
            "recall": [list(found) if (found := self.recall(i)) else None for i in range(len(self.label_names))],
        }


def count_confusion(logits: Float[Tensor, "_ ..."], encoded: EncodedDomain, label_names: tuple[str, ...]) -> Confusion:
    """Count the answers to a domain's first `len(logits)` examples.

    Args:
        label_names: what the columns of `logits` stand for.

    Raises:
        DomainError: an answer is not one label.
    """
    if not encoded.task.has_label_answers:
        raise DomainError(
            f"{encoded.domain.title} is {encoded.task.title}: its answers are not one label each, so none is taken for "
            "another. Choose another domain."
        )
    size = len(label_names)
    truth = torch.tensor(encoded.targets[: len(logits)], dtype=torch.long)
    cells = truth * size + find_answers(logits)
    counts = torch.bincount(cells, minlength=size * size).reshape(size, size)
    occurs = ((counts.sum(0) + counts.sum(1)) > 0).nonzero()[:, 0].tolist()
    about = encoded.domain
    return Confusion(
        about.name, about.title, about.split, tuple(label_names[i] for i in occurs), counts[occurs][:, occurs]
    )
