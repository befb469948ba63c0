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
from fusion_ui.errors import DomainError
from fusion_ui.evaluation.candidates import Candidate, Evaluation
from fusion_ui.evaluation.combined import Ensemble, OwnHeads
from fusion_ui.evaluation.store import LogitsMemory
from fusion_ui.evaluation.stream import EncodedDomain
from fusion_ui.progress import Progress
from fusion_ui.tasks.sequence_classification import find_probabilities
from fusion_ui.tasks.task import Answer

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
        probabilities: NaN for a label that a model does not know; of no label where answers are none.
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
        if not row:
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

    Where a merge left every expert its own head, each head answers for itself. An ensemble that its members' answers
    are not enough for is left out.

    Args:
        evaluation: whose tokenizer and labels are used; its domains are not.

    Raises:
        StoppedError: `progress` was stopped.
    """
    tokenizer = evaluation.tokenizer
    task = evaluation.task.for_typed_text(tokenizer)
    models = tuple(model for model in _apart(candidates) if task.has_ensemble or not isinstance(model, Ensemble))
    each = (Domain(NAME, NAME, NAME, (e.text,), (), (e.pair,) if e.pair else ()) for e in examples)
    texts = tuple(task.encode(one, [0], tokenizer)[0] for one in each)
    counts = tuple(tokenizer.count_tokens([e.text], [e.pair] if e.pair else [])[0] for e in examples)
    domain = Domain(NAME, NAME, NAME, tuple(e.text for e in examples), ())
    encoded = EncodedDomain(domain, texts, (), tuple(range(len(texts))), task, task.metrics[0])
    alone, answers, found = replace(evaluation, domains=(encoded,), store=LogitsMemory()), [], []
    size = len(evaluation.label_names) if task.has_label_answers else 0
    for i, model in enumerate(models):
        part = progress.part(i / len(models), (i + 1) / len(models))
        part.report(0.0, model.title)
        *_, last = model.stream(alone, part)
        answers.append(tuple(task.read_answers(last[NAME], evaluation.label_names, tokenizer)))
        found.append(find_probabilities(last[NAME]) if size else torch.empty(len(texts), 0))
    return TypedAnswers(
        tuple(examples),
        counts,
        tokenizer.max_tokens,
        evaluation.label_names,
        models,
        tuple(answers),
        torch.stack(found),
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
