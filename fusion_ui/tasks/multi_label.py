"""Multi-label classification: any number of labels a text, none among them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fusion_ui.domains.batches import Batch
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.items import NO_ITEMS, split_items
from fusion_ui.domains.labels import encode_labels
from fusion_ui.domains.multi_hot import name_multi_hot
from fusion_ui.errors import DomainError, ParameterError
from fusion_ui.tasks.inputs import model_inputs
from fusion_ui.tasks.metrics import Counts, Metric, macro_f1, micro_f1, share
from fusion_ui.tasks.sequence_classification import arrange_labels, knows_labels
from fusion_ui.tasks.task import Answer, Task
from fusion_ui.tasks.tokenizer import Tokenizer

SEPARATORS = r"[,;|]"
NONE = "none of them"
Labels = tuple[int, ...]
"""Positions of an example's labels, ascending."""


@dataclass(frozen=True)
class MultiLabelClassification(Task):
    """A row is the logits of every label; each label is a yes or no of its own.

    Attributes:
        threshold: a label is given where its probability is above.

    Raises:
        ParameterError: the threshold is no probability between 0 and 1.
    """

    threshold: float = 0.5

    name = "multi-label-classification"
    title = "multi-label classification"
    auto_class = "AutoModelForSequenceClassification"
    problem_type = "multi_label_classification"
    has_empty_labels = True
    has_threshold = True

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:  # false for NaN too
            raise ParameterError(
                f"The threshold must lie between 0 and 1. Got {self.threshold:g} instead. A label is given where its "
                "probability is above it; 0.5 is usual."
            )

    def for_domain(self, domain: Domain, tokenizer: Tokenizer) -> MultiLabelClassification:
        """With the domain's own threshold."""
        return self if domain.threshold is None else replace(self, threshold=domain.threshold)

    @property
    def metrics(self) -> tuple[Metric, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Macro-F1, micro-F1 and the share of texts whose labels are all right."""
        return (
            Metric("macro_f1", "Macro-F1", self._count_by_label, macro_f1),
            Metric("micro_f1", "Micro-F1", self._count_by_label, micro_f1),
            Metric("subset_accuracy", "Subset accuracy", self._count_right, share, is_share=True),
        )

    def serves(self, config: Mapping[str, Any]) -> bool:
        """A sequence classifier that says so in its config.json."""
        return super().serves(config) and config.get("problem_type") == self.problem_type

    def split_label(self, label: str) -> tuple[str, ...]:
        """The labels of a text: a list, or texts between , ; or |; none of an empty list."""
        return tuple(dict.fromkeys(_items(label)))

    def spell_labels(self, domain: Domain, label_names: tuple[str, ...]) -> Domain:
        """Names for lists of one 0 or 1 a label, such as transformers' Trainer needs."""
        return name_multi_hot(domain, label_names, _items)

    def read_targets(self, domain: Domain, label_names: tuple[str, ...], tokenizer: Tokenizer) -> tuple[Labels, ...]:
        """The positions of each example's labels."""
        domain = self.spell_labels(domain, label_names)
        found = [self.split_label(label) for label in domain.labels]
        known = sorted({label for labels in found for label in labels})
        try:
            positions = dict(zip(known, encode_labels(domain.name, known, label_names), strict=True))
        except DomainError as error:
            raise DomainError(f"{error} Several labels of one text are a list, or stand between , ; or |.") from None
        return tuple(tuple(sorted({positions[label] for label in labels})) for labels in found)

    def arrange(self, rows: Tensor, own: tuple[str, ...], names: tuple[str, ...]) -> Tensor:
        """One column for each of `names`; NaN for a label that the model does not know, and so never gives."""
        return arrange_labels(rows, own, names)

    def knows(self, own: tuple[str, ...], names: tuple[str, ...]) -> bool:
        """True with one of the labels at least."""
        return knows_labels(own, names, least=1)

    def combine(self, members: Sequence[Tensor]) -> Tensor:
        """The mean of logits; a label that some members do not know is averaged over those that do."""
        return torch.stack(list(members)).nanmean(0)

    def find_right(self, rows: Tensor, targets: Sequence[Labels]) -> Bool[Tensor, " example"]:
        """Which examples are given all of their labels and no other."""
        return (self._given(rows) == _as_table(targets, rows)).all(-1)

    def read_answers(self, rows: Tensor, label_names: tuple[str, ...], tokenizer: Tokenizer) -> list[Answer]:
        """The given labels, and how probable the answer is, its labels being independent."""
        given = self._given(rows)
        yes = rows.nan_to_num(nan=-torch.inf).sigmoid()
        probabilities = torch.where(given, yes, 1 - yes).prod(-1).tolist()
        return [
            Answer(self.describe_target(tuple(row.nonzero()[:, 0].tolist()), label_names, tokenizer), p)
            for row, p in zip(given, probabilities, strict=True)
        ]

    def count_classes(self, targets: Sequence[Labels]) -> Mapping[Labels, int]:
        """Of each set of labels that occurs."""
        return Counter(targets)

    def always(self, answer: Labels, targets: Sequence[Labels]) -> Tensor:
        """Certain of those labels, and certain that no other fits."""
        rows = torch.full((max(map(max, filter(None, targets)), default=0) + 1,), -torch.inf)
        rows[list(answer)] = torch.inf
        return rows.expand(len(targets), -1)

    def find_probabilities(self, rows: Tensor) -> Float[Tensor, "example label"]:
        """Of each label by itself; NaN for a label that the model does not know."""
        return rows.sigmoid()

    def describe_target(self, target: Labels, label_names: tuple[str, ...], tokenizer: Tokenizer) -> str:
        """The labels' names."""
        return ", ".join(label_names[i] for i in target) or NONE

    def fisher_terms(self, model: nn.Module, batch: Batch) -> list[tuple[Float[Tensor, ""], float]]:
        """One term a label. d log p(y|x) = sum_k (y_k - p_k) dz_k with independent y_k of variance p_k (1 - p_k), so
        products of two labels vanish in the mean of its square, which is sum_k p_k (1 - p_k) dz_k^2.
        """  # fmt: skip
        logits = model(**model_inputs(model, batch)).logits[0]
        probabilities = logits.detach().sigmoid()
        return list(zip(logits, (probabilities * (1 - probabilities)).tolist(), strict=True))

    def training_loss(self, model: nn.Module, batch: Batch, targets: Sequence[Labels]) -> Float[Tensor, ""]:
        """Cross-entropy of each label's yes or no."""
        logits = model(**model_inputs(model, batch)).logits
        return binary_cross_entropy_with_logits(logits, _as_table(targets, logits).float())

    def _given(self, rows: Float[Tensor, "example label"]) -> Bool[Tensor, "example label"]:
        return rows > math.log(self.threshold / (1 - self.threshold))  # NaN is never larger

    def _count_right(self, rows: Tensor, targets: Sequence[Labels]) -> Counts:
        right = self.find_right(rows, targets).double()
        return torch.stack([right, torch.ones_like(right)], 1)

    def _count_by_label(self, rows: Tensor, targets: Sequence[Labels]) -> Counts:
        """(tp, fp, fn) of every label in turn."""
        given, true = self._given(rows), _as_table(targets, rows)
        return torch.stack([given & true, given & ~true, ~given & true], -1).flatten(1).double()


def _items(label: str) -> tuple[str, ...]:
    """What stands in the label of a text, as often as it stands there."""
    if label == NO_ITEMS:
        return ()
    items = (item.strip("'\" ") for item in split_items(label.strip("[]"), SEPARATORS))
    return tuple(item for item in items if item)


def _as_table(targets: Sequence[Labels], rows: Tensor) -> Bool[Tensor, "example label"]:
    table = torch.zeros(rows.shape, dtype=torch.bool)
    for place, labels in zip(table, targets, strict=True):
        place[list(labels)] = True
    return table
