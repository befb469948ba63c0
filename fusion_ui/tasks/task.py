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
from fusion_ui.domains.cells import is_list
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.items import show_items
from fusion_ui.domains.labels import unite_labels
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

    @property
    def sureness(self) -> float | None:
        """The probability; None where it is not said."""
        return None if self.probability != self.probability else self.probability


class Task(ABC):
    """One kind of model.

    A model's output for a text is a *row*: a tensor whose meaning the task alone knows. Rows of different lengths are
    padded with NaN when they are put together.

    Attributes:
        name: as recipes and results have it.
        title: how people call it.
        auto_class: the class of transformers that loads its models.
        problem_type: as a classifier's config.json has it, where that tells the task from others.
        pipeline: what transformers and the hub call the task.
        metrics: what its answers can be scored by, the usual one first.
        reads_words: its text is words, each with a label.
        has_label_answers: an answer is one of the model's labels, so answers can be counted in a confusion matrix.
        has_right_answers: an answer is right or wrong; not where it is a quantity.
        has_empty_labels: that a text has no label is an answer too, so such rows are not left out.
        has_threshold: a text is given every label that is probable enough, and a domain may say how much that is.
        has_ensemble: the rows of several models are enough to know what all of them together would answer.
        has_choices: its models have no labels, and choose among those of the text.
        measures_answers: statistics are measured on texts together with what each should be answered with.
        needs_labels: a text without a label cannot be scored.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    auto_class: ClassVar[str]
    problem_type: ClassVar[str | None] = None
    pipeline: ClassVar[str] = "text-classification"
    metrics: tuple[Metric, ...]
    reads_words: ClassVar[bool] = False
    has_label_answers: ClassVar[bool] = False
    has_right_answers: ClassVar[bool] = True
    has_empty_labels: ClassVar[bool] = False
    has_threshold: ClassVar[bool] = False
    has_ensemble: ClassVar[bool] = True
    has_choices: ClassVar[bool] = False
    measures_answers: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True

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

    def for_domain(self, domain: Domain, tokenizer: Tokenizer) -> Task:
        """The task as this domain sets it, where that depends on the domain: its labels, or its threshold.

        Raises:
            DomainError: the domain cannot be answered.
        """
        return self

    def for_typed_text(self, tokenizer: Tokenizer) -> Task:
        """The task as a text without a label sets it, which somebody typed to see an answer."""
        return self

    def find_metric(self, name: str | None, label_names: tuple[str, ...] = ()) -> Metric:
        """The metric of that name, for answers among those labels; None is the usual one.

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
        for part in (domain.texts, domain.pairs):
            if (words := next((part[i] for i in indices if part and is_list(part[i])), None)) is not None:
                raise DomainError(
                    f"The domain {domain.name} has a list where a text is needed: {show_items(words)[:80]!r}. Choose "
                    f"another column; models for {self.title} read no lists of words."
                )
        pairs = [domain.pairs[i] for i in indices] if domain.pairs else ()
        return tokenizer.encode([domain.texts[i] for i in indices], pairs)

    def split_label(self, label: str) -> tuple[str, ...]:
        """The names of a model's labels in what is written as the label of a text; none where it is something else."""
        return ()

    def spell_labels(self, domain: Domain, label_names: tuple[str, ...]) -> Domain:
        """The domain with the names of `label_names`, a model's own, in place of what says in another way which of them
        an example has.

        Raises:
            DomainError: it cannot be told which labels are meant.
        """
        return domain

    def unite_labels(self, experts: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """What models of this task, given the labels of each, answer among together."""
        return unite_labels(experts)

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

    def knows(self, own: tuple[str, ...], names: tuple[str, ...]) -> bool:
        """True if a model with the labels `own` has an answer where one of `names` is asked for."""
        return True

    @abstractmethod
    def combine(self, members: Sequence[Tensor]) -> Tensor:
        """The ensemble's rows, from those of its members for the same texts."""

    @abstractmethod
    def find_right(self, rows: Tensor, targets: Sequence[Target]) -> Bool[Tensor, " example"]:
        """Which examples are answered just as they should be; asked only of a task that has right answers."""

    @abstractmethod
    def read_answers(self, rows: Tensor, label_names: tuple[str, ...], tokenizer: Tokenizer) -> list[Answer]:
        """The answers in words."""

    def count_classes(self, targets: Sequence[Target]) -> Mapping[Target, int]:
        """How often each answer is right among which somebody could guess; empty where targets are no classes."""
        return {}

    def always(self, answer: Target, targets: Sequence[Target]) -> Tensor:
        """Rows for the examples of these targets that give one of the classes as the answer to all of them."""
        raise NotImplementedError(f"{self.title} has no classes")  # a task that counts some has this too

    def find_metrics(self, label_names: tuple[str, ...]) -> tuple[Metric, ...]:
        """Everything that answers among those labels can be scored by, the usual metric first."""
        return self.metrics

    def find_probabilities(self, rows: Tensor) -> Float[Tensor, "example label"] | None:
        """How probable a model calls each of its labels; None where its outputs are not that."""
        return None

    def explain(self, text: str, answer: str) -> str:
        """An answer, or a target, in the words in which it is shown beside its text."""
        return answer

    def check_labels(self, label_names: tuple[str, ...]) -> list[str]:
        """Sentences on what is odd about a model's labels."""
        return []

    @abstractmethod
    def describe_target(self, target: Target, label_names: tuple[str, ...], tokenizer: Tokenizer) -> str:
        """What an example should be answered with, in words."""

    @abstractmethod
    def fisher_terms(self, model: nn.Module, batch: Batch) -> list[tuple[Float[Tensor, ""], float]]:
        """Scalars and weights such that E_y (d log p(y|x))^2 is the weighted sum of the scalars' squared gradients.

        Args:
            batch: one text. Gradients flow.
        """

    def encode_training(
        self, domain: Domain, label_names: tuple[str, ...], tokenizer: Tokenizer
    ) -> tuple[list[EncodedText], list[Target]]:
        """All examples of a domain as a model is trained on them, and what each should be answered with.

        Raises:
            DomainError: an example cannot be read, or has no label.
        """
        if not domain.labels:
            raise DomainError(f"The domain {domain.name} has no labels to train on. Choose its label column.")
        targets = self.read_targets(domain, label_names, tokenizer)
        return self.encode(domain, range(len(domain.texts)), tokenizer), [*targets]

    @abstractmethod
    def training_loss(self, model: nn.Module, batch: Batch, targets: Sequence[Target]) -> Float[Tensor, ""]:
        """How far the model's outputs for a batch are from its targets, on average. Gradients flow."""


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
