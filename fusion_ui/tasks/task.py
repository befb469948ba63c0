"""What a model's outputs mean: how it is loaded, what it reads and answers, and how that is scored.

A task is one file in this package and one entry in `TASKS`; everything above asks the task and knows no other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.loading import auto_class_of, load_pretrained
from fusion_ui.domains.batches import Batch, EncodedText
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import CheckpointError, DomainError
from fusion_ui.tasks.inputs import model_inputs
from fusion_ui.tasks.metrics import Metric
from fusion_ui.tasks.tokenizer import Tokenizer, first_line

Target = Any
"""What a task compares an answer with: the position of a label, a tuple of positions, a number, token ids."""


@dataclass(frozen=True)
class Answer:
    """What a model answered, in words, and how probable it said that is; NaN where it does not say."""

    label: str
    probability: float


class Task(ABC):
    """One kind of model.

    A model's output for a text is a *row*: a tensor whose meaning the task alone knows. Rows of different lengths are
    padded with NaN when they are put together.

    Attributes:
        name: as recipes and results have it.
        title: how people call it.
        auto_class: the class of transformers that loads its models.
        metrics: what its answers can be scored by, the usual one first.
        has_label_answers: an answer is one of the model's labels, so answers can be counted in a confusion matrix.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    auto_class: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    has_label_answers: ClassVar[bool] = False

    def serves(self, config: Mapping[str, Any]) -> bool:
        """True if a model with this config.json is of this task."""
        return auto_class_of(config) == self.auto_class

    def load_model(self, checkpoint: Checkpoint) -> nn.Module:
        """The checkpoint as a module in eval mode, float32, with its weights.

        Raises:
            CheckpointError: the directory is not a model of this task that transformers can load.
        """
        _check_config(checkpoint)
        try:
            model, info = load_pretrained(checkpoint.directory, self.auto_class, output_loading_info=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise CheckpointError(f"The model {checkpoint.name} cannot be loaded: {first_line(error)}") from None
        if info["missing_keys"]:
            raise CheckpointError(
                f"The model {checkpoint.name} is not trained for {self.title}: it has no "
                f"{sorted(info['missing_keys'])[0]}. Choose a checkpoint that was fine-tuned for it."
            )
        return model.eval().requires_grad_(False)

    def find_metric(self, name: str | None) -> Metric:
        """The metric of that name; None is the usual one.

        Raises:
            DomainError: the task has no such metric.
        """
        found = next((metric for metric in self.metrics if name in (None, metric.name)), None)
        if found is None:
            known = ", ".join(metric.name for metric in self.metrics)
            raise DomainError(f"{self.title} has no metric {str(name)[:40]!r}. Choose one of: {known}.")
        return found

    def encode(self, domain: Domain, indices: Sequence[int], tokenizer: Tokenizer) -> list[EncodedText]:
        """The examples at `indices` as a model reads them.

        Raises:
            DomainError: an example cannot be read for this task.
        """
        pairs = [domain.pairs[i] for i in indices] if domain.pairs else ()
        return tokenizer.encode([domain.texts[i] for i in indices], pairs)

    @abstractmethod
    def read_targets(self, domain: Domain, label_names: tuple[str, ...], tokenizer: Tokenizer) -> tuple[Target, ...]:
        """What each example should be answered with.

        Raises:
            DomainError: a label means nothing to the model.
        """

    def compute_rows(self, model: nn.Module, batch: Batch, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """A row for every text of a batch, under `weights` in place of the module's own where given.

        The module is not changed, so one skeleton serves every merge.
        """
        inputs = model_inputs(model, batch)
        with torch.inference_mode():
            if weights is None:
                return model(**inputs).logits
            return torch.func.functional_call(model, dict(weights), args=(), kwargs=inputs).logits

    def arrange(self, rows: Tensor, own: tuple[str, ...], names: tuple[str, ...]) -> Tensor:
        """Rows of a model with the labels `own` as one with the labels `names` would give them."""
        return rows

    @abstractmethod
    def combine(self, members: Sequence[Tensor]) -> Tensor:
        """The ensemble's rows, from those of its members for the same texts."""

    @abstractmethod
    def find_right(self, rows: Tensor, targets: Sequence[Target]) -> Bool[Tensor, " example"]:
        """Which examples are answered just as they should be."""

    @abstractmethod
    def read_answers(self, rows: Tensor, label_names: tuple[str, ...], tokenizer: Tokenizer) -> list[Answer]:
        """The answers in words."""

    @abstractmethod
    def describe_target(self, target: Target, label_names: tuple[str, ...], tokenizer: Tokenizer) -> str:
        """What an example should be answered with, in words."""

    @abstractmethod
    def fisher_terms(self, model: nn.Module, batch: Batch) -> list[tuple[Float[Tensor, ""], float]]:
        """Scalars and weights such that E_y (d log p(y|x))^2 is the weighted sum of the scalars' squared gradients.

        Args:
            batch: one text. Gradients flow.
        """

    def training_loss(self, model: nn.Module, batch: Batch, targets: Sequence[Target]) -> Float[Tensor, ""]:
        """How far the model's outputs for a batch are from its targets, on average. Gradients flow.

        Raises:
            CheckpointError: models of this task cannot be trained here.
        """
        raise CheckpointError(f"Models for {self.title} cannot be trained here. Train them elsewhere, and bring them.")


def join_rows(rows: Sequence[Tensor]) -> Tensor:
    """Rows of several texts as one tensor, each padded with NaN to the largest in every dimension."""
    sizes = [max(lengths) for lengths in zip(*(row.shape for row in rows), strict=True)]
    if all(list(row.shape) == sizes for row in rows):
        return torch.stack(list(rows))
    joined = torch.full((len(rows), *sizes), torch.nan)
    for place, row in zip(joined, rows, strict=True):
        place[tuple(slice(length) for length in row.shape)] = row
    return joined


def _check_config(checkpoint: Checkpoint) -> None:
    implementation = checkpoint.config.get("_attn_implementation") or checkpoint.config.get("attn_implementation")
    if implementation not in (None, "eager", "sdpa"):
        raise CheckpointError(
            f"The model {checkpoint.name} asks for the attention kernel {str(implementation)[:60]!r}. "
            "That would run code that is not part of Fusion UI and is refused."
        )
