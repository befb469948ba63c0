"""Regression: one number for a text, or for a pair of texts, such as how similar they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from fusion_ui.checkpoints.checkpoint import labels_of
from fusion_ui.domains.batches import Batch
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import DomainError
from fusion_ui.tasks.correlation import PEARSON, SPEARMAN
from fusion_ui.tasks.inputs import model_inputs
from fusion_ui.tasks.task import Answer, Task
from fusion_ui.tasks.tokenizer import Tokenizer

UNNAMED = "LABEL_0"
"""What transformers calls the output of a model that does not name it."""


class Regression(Task):
    """A row is one number. No answer is right or wrong, only near or far."""

    name = "regression"
    title = "regression"
    auto_class = "AutoModelForSequenceClassification"
    metrics = (PEARSON, SPEARMAN)
    has_right_answers = False

    def serves(self, config: Mapping[str, Any]) -> bool:
        """A sequence classifier with one output, or one that calls itself a regression."""
        is_one = len(labels_of(config)) == 1 or config.get("problem_type") == "regression"
        return super().serves(config) and is_one

    def unite_labels(self, experts: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """One output, whatever each calls it: the first name that somebody gave it, or else transformers' own."""
        if any(len(names) != 1 for names in experts):
            return super().unite_labels(experts)
        names = [names[0] for names in experts]
        return (next((name for name in names if name != UNNAMED), names[0]),)

    def read_targets(self, domain: Domain, label_names: tuple[str, ...], tokenizer: Tokenizer) -> tuple[float, ...]:
        """Each example's number."""
        if len(label_names) != 1:
            raise DomainError(
                f"The model for {domain.name} predicts {len(label_names)} numbers for a text, and one can be scored. "
                "Choose a model with one output."
            )
        return tuple(_read_number(domain, row, label) for row, label in enumerate(domain.labels, start=1))

    def combine(self, members: Sequence[Tensor]) -> Tensor:
        """The mean of the numbers."""
        return torch.stack(list(members)).mean(0)

    def find_right(self, rows: Tensor, targets: Sequence[float]) -> Bool[Tensor, " example"]:
        """None: whoever needs right answers asks `has_right_answers` first."""
        return torch.zeros(len(rows), dtype=torch.bool)

    def read_answers(self, rows: Tensor, label_names: tuple[str, ...], tokenizer: Tokenizer) -> list[Answer]:
        """The numbers, to four digits."""
        return [Answer(f"{value:.4g}", math.nan) for value in rows[:, 0].tolist()]

    def describe_target(self, target: float, label_names: tuple[str, ...], tokenizer: Tokenizer) -> str:
        """The number."""
        return f"{target:.4g}"

    def fisher_terms(self, model: nn.Module, batch: Batch) -> list[tuple[Float[Tensor, ""], float]]:
        """The output f itself: y is normal around f with variance 1, so E_y (d log p)^2 = E_y (y - f)^2 df^2 = df^2."""
        return [(model(**model_inputs(model, batch)).logits[0, 0], 1.0)]

    def training_loss(self, model: nn.Module, batch: Batch, targets: Sequence[float]) -> Float[Tensor, ""]:
        """The mean squared distance."""
        return mse_loss(model(**model_inputs(model, batch)).logits[:, 0], torch.tensor(targets))


def _read_number(domain: Domain, row: int, label: str) -> float:
    try:
        value = float(label)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DomainError(
            f"The domain {domain.name} has {label[:80]!r} where a number is to be predicted (example {row:,}). Its "
            "model predicts a quantity: choose a label column of numbers such as 3.5, or a model of classes."
        )
    return value
