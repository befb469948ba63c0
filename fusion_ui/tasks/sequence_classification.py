"""Sequence classification: one label a text, or a pair of texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from fusion_ui.domains.batches import Batch
from fusion_ui.domains.domain import Domain
from fusion_ui.tasks.inputs import model_inputs
from fusion_ui.tasks.metrics import Counts, Metric, macro_f1, share
from fusion_ui.tasks.task import Answer, Task
from fusion_ui.tasks.tokenizer import Tokenizer


def find_answers(rows: Float[Tensor, "*example label"]) -> Int[Tensor, "*example"]:
    """Position of the label that each example, or word, is answered with; NaN is of a label that nobody knows."""
    return rows.nan_to_num(nan=-torch.inf).argmax(-1)


def find_probabilities(rows: Float[Tensor, "*example label"]) -> Float[Tensor, "*example label"]:
    """Probability of every label, by softmax over the labels that the model knows; NaN for the others."""
    is_unknown = rows.isnan()
    return rows.masked_fill(is_unknown, -torch.inf).softmax(-1).masked_fill(is_unknown, torch.nan)


def arrange_labels(
    rows: Float[Tensor, "example *token own"], own: tuple[str, ...], names: tuple[str, ...]
) -> Float[Tensor, "example *token label"]:
    """One column for each of `names`; NaN for a label that the model does not know."""
    if names == own:
        return rows
    columns = {name.casefold(): column for column, name in enumerate(own)}
    unknown = torch.full(rows.shape[:-1], torch.nan)
    return torch.stack([rows[..., columns[n.casefold()]] if n.casefold() in columns else unknown for n in names], -1)


def knows_labels(own: tuple[str, ...], names: tuple[str, ...], least: int = 2) -> bool:
    """True if `own` holds so many of `names`, or all: whoever knows one of several gives it always, and chooses
    nothing.
    """
    asked = {name.casefold() for name in names}
    return len(asked & {name.casefold() for name in own}) >= min(least, len(asked))


def expected_terms(logits: Float[Tensor, " label"]) -> list[tuple[Float[Tensor, ""], float]]:
    """Scalars and weights such that sum_y p_y (d log p_y)^2 is the weighted sum of the scalars' squared gradients."""
    probabilities = logits.detach().softmax(-1).tolist()
    if len(probabilities) == 2:
        # d log p_0 = p_1 d(z_0 - z_1) and d log p_1 = -p_0 d(z_0 - z_1), so one gradient gives both:
        # p_0 p_1^2 + p_1 p_0^2 = p_0 p_1.
        return [(logits[0] - logits[1], probabilities[0] * probabilities[1])]
    return list(zip(logits.log_softmax(-1), probabilities, strict=True))


def _count_right(rows: Tensor, targets: Sequence[int]) -> Counts:
    right = (find_answers(rows) == torch.tensor(targets)).double()
    return torch.stack([right, torch.ones_like(right)], 1)


def _count_by_label(rows: Tensor, targets: Sequence[int]) -> Counts:
    """(tp, fp, fn) of every label in turn."""
    labels = torch.arange(rows.shape[-1])
    chosen, true = find_answers(rows)[:, None] == labels, torch.tensor(targets)[:, None] == labels
    return torch.stack([chosen & true, chosen & ~true, ~chosen & true], -1).flatten(1).double()


ACCURACY = Metric("accuracy", "Accuracy", _count_right, share, is_share=True)
MACRO_F1 = Metric("macro_f1", "Macro-F1", _count_by_label, macro_f1)


class SequenceClassification(Task):
    """A row is the logits of every label."""

    name = "sequence-classification"
    title = "text classification"
    auto_class = "AutoModelForSequenceClassification"
    pipeline = "text-classification"
    metrics = (ACCURACY, MACRO_F1)
    has_label_answers = True

    def serves(self, config: Mapping[str, Any]) -> bool:
        """Whatever no other task serves."""
        return True

    def split_label(self, label: str) -> tuple[str, ...]:
        """The label."""
        return (label,)

    def read_targets(self, domain: Domain, label_names: tuple[str, ...], tokenizer: Tokenizer) -> tuple[int, ...]:
        """The position of each example's label."""
        return domain.encode_labels(label_names)

    def arrange(self, rows: Tensor, own: tuple[str, ...], names: tuple[str, ...]) -> Tensor:
        """One column for each of `names`; NaN for a label that the model does not know."""
        return arrange_labels(rows, own, names)

    def knows(self, own: tuple[str, ...], names: tuple[str, ...]) -> bool:
        """True with two of the labels at least."""
        return knows_labels(own, names)

    def combine(self, members: Sequence[Tensor]) -> Tensor:
        """The mean of logits; a label that some members do not know is averaged over those that do."""
        return torch.stack(list(members)).nanmean(0)

    def find_right(self, rows: Tensor, targets: Sequence[int]) -> Bool[Tensor, " example"]:
        """Which examples are answered as their label says."""
        return find_answers(rows) == torch.tensor(targets)

    def read_answers(self, rows: Tensor, label_names: tuple[str, ...], tokenizer: Tokenizer) -> list[Answer]:
        """The most probable label of each example."""
        chosen = find_answers(rows)
        probabilities = find_probabilities(rows).gather(1, chosen[:, None])[:, 0]
        return [Answer(label_names[c], p) for c, p in zip(chosen.tolist(), probabilities.tolist(), strict=True)]

    def count_classes(self, targets: Sequence[int]) -> Mapping[int, int]:
        """Of each label that occurs."""
        return Counter(targets)

    def always(self, answer: int, targets: Sequence[int]) -> Tensor:
        """Logits of that label alone."""
        return one_hot(torch.tensor(answer), max(targets) + 1).float().expand(len(targets), -1)

    def find_probabilities(self, rows: Tensor) -> Float[Tensor, "example label"]:
        """By softmax over the labels that the model knows."""
        return find_probabilities(rows)

    def describe_target(self, target: int, label_names: tuple[str, ...], tokenizer: Tokenizer) -> str:
        """The label's name."""
        return label_names[target]

    def fisher_terms(self, model: nn.Module, batch: Batch) -> list[tuple[Float[Tensor, ""], float]]:
        """One term a label, weighted by its probability."""
        return expected_terms(model(**model_inputs(model, batch)).logits[0])

    def training_loss(self, model: nn.Module, batch: Batch, targets: Sequence[int]) -> Float[Tensor, ""]:
        """Cross-entropy of the labels."""
        return cross_entropy(model(**model_inputs(model, batch)).logits, torch.tensor(targets))
