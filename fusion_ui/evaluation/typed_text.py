"""Sentences that a person types, answered by several models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.domains.cells import replace_surrogates
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.labels import unite_labels
from fusion_ui.errors import DomainError
from fusion_ui.evaluation.candidates import Candidate, Evaluation
from fusion_ui.evaluation.combined import Ensemble, OwnHeads
from fusion_ui.evaluation.store import LogitsMemory
from fusion_ui.evaluation.stream import EncodedDomain
from fusion_ui.progress import Progress
from fusion_ui.tasks.sequence_classification import arrange_labels
from fusion_ui.tasks.task import Answer, Task

MAX_EXAMPLES, MAX_CHARACTERS = 20, 2_000
"""Sentences that are answered at once, and the length of one, or of both of a pair."""
NAME = "typed"


@dataclass(frozen=True)
class Example:
    """A sentence, or a pair of them."""

    text: str
    pair: str | None = None


@dataclass(frozen=True, eq=False)
class TypedAnswers:
    """Several models' answers to the same examples.

    Attributes:
        num_tokens: of each example before any was cut, special tokens included.
        max_tokens: that a model reads; the rest is cut.
        models: who answered.
        answers: of each model, to each example, in words.
        probabilities: NaN for a label that a model does not know, and where its answer is no label.
    """

    examples: tuple[Example, ...]
    num_tokens: tuple[int, ...]
    max_tokens: int
    label_names: tuple[str, ...]
    models: tuple[Candidate, ...]
    answers: tuple[tuple[Answer, ...], ...]
    probabilities: Float[Tensor, "model example label"]

    def note(self, num_tokens: int) -> str:
        """A sentence on an example's length."""
        if num_tokens > self.max_tokens:
            return f"{num_tokens:,} tokens, of which the first {self.max_tokens:,} are read: the rest is cut."
        return f"{num_tokens:,} tokens"

    def describe(self) -> dict[str, Any]:
        """As JSON values; None is the probability of a label that a model does not know. A model whose answer is no
        label has no probabilities.
        """
        examples = [
            {
                "text": example.text,
                "pair": example.pair,
                "num_tokens": self.num_tokens[i],
                "is_cut": self.num_tokens[i] > self.max_tokens,
                "models": [
                    {"name": model.name, "title": model.title, "answer": answers[i].label}
                    | {"probabilities": self._by_label(rows[i].tolist())}
                    for model, answers, rows in zip(self.models, self.answers, self.probabilities, strict=True)
                ],
            }
            for i, example in enumerate(self.examples)
        ]
        return {"labels": list(self.label_names), "max_tokens": self.max_tokens, "examples": examples}

    def _by_label(self, row: Sequence[float]) -> dict[str, float | None]:
        if all(p != p for p in row):
            return {}
        return {name: None if p != p else p for name, p in zip(self.label_names, row, strict=True)}


def read_examples(text: str) -> tuple[Example, ...]:
    """One example a line; a tab stands between the two sentences of a pair. Empty lines are left out.

    Raises:
        DomainError: there is none, there are too many, or one is too long.
    """
    lines = [line for line in replace_surrogates(text).splitlines() if line.strip()]
    if not lines:
        raise DomainError("There is nothing to answer. Write a sentence.")
    if len(lines) > MAX_EXAMPLES:
        raise DomainError(f"{len(lines):,} sentences are too many at once. Give {MAX_EXAMPLES} at most, one a line.")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_CHARACTERS:
            raise DomainError(
                f"Sentence {number} has {len(line):,} characters, and {MAX_CHARACTERS:,} is the most. Shorten it."
            )
    parts = [line.partition("\t") for line in lines]
    return tuple(Example(first.strip(), second.strip() or None) for first, _, second in parts)


def answer_examples(
    examples: Sequence[Example], candidates: Sequence[Candidate], evaluation: Evaluation, progress: Progress
) -> TypedAnswers:
    """What every candidate says to every example. Nothing of it is kept.

    Where a merge left every expert its own head, each head answers for itself. A model of no task does not answer, nor
    does an ensemble that its members' answers are not enough for.

    Args:
        evaluation: whose tokenizer and labels are used; its domains are not.

    Raises:
        DomainError: nobody can answer.
        StoppedError: `progress` was stopped.
    """
    tokenizer, label_names = evaluation.tokenizer, unite_labels([*evaluation.labels.values()])
    counts = tuple(tokenizer.count_tokens([e.text], [e.pair] if e.pair else [])[0] for e in examples)
    domain = Domain(NAME, NAME, NAME, tuple(e.text for e in examples), ())
    alone = [Domain(NAME, NAME, NAME, (e.text,), (), (e.pair,) if e.pair else ()) for e in examples]

    def encode(task: Task, names: tuple[str, ...]) -> EncodedDomain:
        task = task.for_typed_text(tokenizer)
        texts = tuple(task.encode(one, [0], tokenizer)[0] for one in alone)
        return EncodedDomain(domain, texts, (), tuple(range(len(texts))), task, task.metrics[0], names)

    typed = [encode(*entry) for entry in evaluation.labels.items()]
    asked = [
        (model, encoded)
        for model in _apart(candidates)
        for encoded in typed
        if model.answers(encoded) and (encoded.task.has_ensemble or not isinstance(model, Ensemble))
    ]
    if not asked:
        raise DomainError("No model is there to answer. Compare a method, or show the experts.")
    models, answers, found = [], [], []
    for i, (model, encoded) in enumerate(asked):
        part = progress.part(i / len(asked), (i + 1) / len(asked))
        part.report(0.0, model.title)
        *_, last = model.stream(replace(evaluation, domains=(encoded,), store=LogitsMemory()), part)
        rows, task = last[NAME], encoded.task
        models.append(model)
        said = zip(examples, task.read_answers(rows, encoded.label_names, tokenizer), strict=True)
        answers.append(tuple(replace(answer, label=task.explain(e.text, answer.label)) for e, answer in said))
        probabilities = task.find_probabilities(rows)
        found.append(None if probabilities is None else arrange_labels(probabilities, encoded.label_names, label_names))
    if all(part is None for part in found):
        label_names = ()
    nothing = torch.full((len(examples), len(label_names)), torch.nan)
    return TypedAnswers(
        tuple(examples),
        counts,
        tokenizer.max_tokens,
        label_names,
        tuple(models),
        tuple(answers),
        torch.stack([nothing if part is None else part for part in found]),
    )


def _apart(candidates: Sequence[Candidate]) -> list[Candidate]:
    apart: list[Candidate] = []
    for candidate in candidates:
        heads = candidate.members if isinstance(candidate, OwnHeads) else ()
        apart += [
            replace(head, name=f"{candidate.name} {head.name}", title=f"{candidate.title}, head of {head.name}")
            for head in heads
        ] or [candidate]
    return apart
