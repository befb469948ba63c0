"""Causal language models (GPT-2, Llama): how likely a text is, which of several continuations, and what comes next.

What is asked follows from the domain. Text without labels is scored token by token. Labels are taken as continuations
of their text, and the likeliest one is the answer. A text that somebody types is continued.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.batches import Batch, EncodedText
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.labels import listed
from fusion_ui.errors import DomainError
from fusion_ui.tasks.generation import read_ids, set_greedy, write_rows
from fusion_ui.tasks.inputs import model_inputs
from fusion_ui.tasks.likelihood import score_choices, score_tokens
from fusion_ui.tasks.metrics import Counts, Metric, share
from fusion_ui.tasks.scales import RATIO
from fusion_ui.tasks.sequence_classification import ACCURACY, MACRO_F1, find_answers, find_probabilities
from fusion_ui.tasks.task import Answer, Task
from fusion_ui.tasks.tokenizer import Tokenizer

MAX_CHOICES = 20
"""Each is a pass of every text through the model."""
NUM_NEW_TOKENS = 16
"""How far a typed text is continued."""


def _count_next(rows: Float[Tensor, "example value"], targets: Sequence[None]) -> Counts:
    """(right next tokens, next tokens)."""
    return rows[:, [1, 2]].double()


def _count_loss(rows: Float[Tensor, "example value"], targets: Sequence[None]) -> Counts:
    """(negative log-likelihood, next tokens)."""
    return rows[:, [0, 2]].double()


def _exp_share(parts: Float[Tensor, "*resample part"]) -> Float[Tensor, "*resample"]:
    return share(parts).exp()


NEXT_TOKEN_ACCURACY = Metric("next_token_accuracy", "Next-token accuracy", _count_next, share)
PERPLEXITY = Metric("perplexity", "Perplexity", _count_loss, _exp_share, is_smaller_better=True, scale=RATIO)


class CausalLanguageModel(Task):
    """A row is the negative log-likelihood of a text, how many next tokens are the likeliest, and how many there are.

    The first token of a text is no next token: nothing says what comes before it.
    """

    name = "causal-language-model"
    title = "language modelling"
    auto_class = "AutoModelForCausalLM"
    pipeline = "text-generation"
    metrics = (NEXT_TOKEN_ACCURACY, PERPLEXITY)
    has_right_answers = False
    has_ensemble = False
    has_choices = True
    needs_labels = False

    def for_domain(self, domain: Domain, tokenizer: Tokenizer) -> Task:
        """The choice between the domain's labels, where it has any."""
        return MultipleChoice(domain) if domain.labels else self

    def for_typed_text(self, tokenizer: Tokenizer) -> Task:
        """The text is continued."""
        return Continuation()

    def load_model(self, checkpoint: Checkpoint) -> nn.Module:
        """As any task's."""
        model = super().load_model(checkpoint)
        set_greedy(model)
        return model

    def encode(self, domain: Domain, indices: Sequence[int], tokenizer: Tokenizer) -> list[EncodedText]:
        """The texts.

        Raises:
            DomainError: none of them has two tokens.
        """
        texts = super().encode(domain, indices, tokenizer)
        if texts and all(len(text) < 2 for text in texts):
            raise DomainError(
                f"No text of the domain {domain.name} has two tokens, so there is no next token to predict. "
                "Choose a column of longer texts."
            )
        return texts

    def read_targets(self, domain: Domain, label_names: tuple[str, ...], tokenizer: Tokenizer) -> tuple[object, ...]:
        """Nothing: a text is its own target."""
        return (None,) * len(domain.texts)

    def compute_rows(self, model: nn.Module, batch: Batch, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """What is asked of the batch: a continuation, the likelihood of choices, or of the texts themselves."""
        if batch.num_new:
            return torch.cat([_continue(model, batch, i, weights) for i in range(len(batch.indices))])
        if batch.choices:
            return score_choices(model, batch, weights)
        losses, right, is_real = score_tokens(model, batch, weights)
        return torch.stack([losses.sum(1), right.sum(1), is_real.sum(1)], 1)

    def combine(self, members: Sequence[Tensor]) -> Tensor:
        """Not known from rows."""
        raise DomainError(
            "The ensemble of language models is the mean of what they expect at every token, for which all of them "
            "would have to run side by side. It is not computed here: leave the ensemble out."
        )

    def find_right(self, rows: Tensor, targets: Sequence[object]) -> Bool[Tensor, " example"]:
        """Which texts the model would write itself: all their next tokens are the likeliest."""
        return rows[:, 1] == rows[:, 2]

    def read_answers(self, rows: Tensor, label_names: tuple[str, ...], tokenizer: Tokenizer) -> list[Answer]:
        """How many next tokens are right, and the likelihood per token (its geometric mean)."""
        likelihoods = (-rows[:, 0] / rows[:, 2]).exp().tolist()
        told = [f"{right:.0f} of {total:.0f} next tokens right" for _, right, total in rows.tolist()]
        return [Answer(text, p) for text, p in zip(told, likelihoods, strict=True)]

    def describe_target(self, target: object, label_names: tuple[str, ...], tokenizer: Tokenizer) -> str:
        """Nothing beside the text itself."""
        return ""

    def fisher_terms(self, model: nn.Module, batch: Batch) -> list[tuple[Float[Tensor, ""], float]]:
        """The log-likelihood of the given text ("empirical"): the mean over all texts cannot be computed."""
        logits, ids = model(**model_inputs(model, batch)).logits[0], batch.input_ids[0]
        return [(logits[:-1].log_softmax(-1).gather(1, ids[1:, None]).sum(), 1.0)]

    def encode_training(
        self, domain: Domain, label_names: tuple[str, ...], tokenizer: Tokenizer
    ) -> tuple[list[EncodedText], list[object]]:
        """The texts, each followed by its label where there is one."""
        whole = [_join(domain, i) for i in range(len(domain.texts))]
        if domain.labels:
            whole = [f"{text} {label}" for text, label in zip(whole, domain.labels, strict=True)]
        alone = replace(domain, texts=tuple(whole), labels=(), pairs=())
        return self.encode(alone, range(len(whole)), tokenizer), [None] * len(whole)

    def training_loss(self, model: nn.Module, batch: Batch, targets: Sequence[object]) -> Float[Tensor, ""]:
        """Cross-entropy of every token but the first, given those before it."""
        logits, mask = model(**model_inputs(model, batch)).logits[:, :-1], batch.attention_mask.bool()
        is_real = mask[:, 1:] & mask[:, :-1]
        return cross_entropy(logits[is_real], batch.input_ids[:, 1:][is_real])


class MultipleChoice(CausalLanguageModel):
    """A row is the log-likelihood of every label of the domain as the continuation of its text.

    The labels are the domain's, not those that happen to occur in the split that is measured: a smaller part of the
    same text would else be an easier question.
    """

    metrics = (ACCURACY, MACRO_F1)
    has_right_answers = True
    has_ensemble = True
    needs_labels = True

    def __init__(self, domain: Domain) -> None:
        self.choices = domain.all_choices
        if len(self.choices) > MAX_CHOICES:
            raise DomainError(
                f"The domain {domain.name} has {len(self.choices):,} different labels ({listed(self.choices)}), and "
                f"{MAX_CHOICES} is the most that a language model chooses among. Choose another label column, or "
                "none to score the text itself."
            )

    def encode(self, domain: Domain, indices: Sequence[int], tokenizer: Tokenizer) -> list[EncodedText]:
        """The ends of texts that leave room for the longest choice, with the tokens of every choice.

        Raises:
            DomainError: two choices have the same tokens, or one has none or more than a text may have.
        """
        choices = tuple(map(tokenizer.encode_continuation, self.choices))
        told = f"The domain {domain.name} has the label "
        for i, (choice, ids) in enumerate(zip(self.choices, choices, strict=True)):
            if ids in choices[:i]:
                raise DomainError(
                    f"{told}{choice[:80]!r}, which has the same tokens as {self.choices[choices.index(ids)][:80]!r}: "
                    "the model cannot tell them apart. Rename one in words that it knows."
                )
            if not 0 < len(ids) < tokenizer.max_tokens:
                raise DomainError(
                    f"{told}{choice[:80]!r} of {len(ids):,} tokens, and 1 to {tokenizer.max_tokens - 1:,} can follow a "
                    "text. Rename it."
                )
        room = tokenizer.max_tokens - max(map(len, choices))
        return [EncodedText(tokenizer.encode_start(_join(domain, i), room), choices=choices) for i in indices]

    def read_targets(self, domain: Domain, label_names: tuple[str, ...], tokenizer: Tokenizer) -> tuple[int, ...]:
        """The position of each label among the choices."""
        return tuple(map(self.choices.index, domain.labels))

    def count_classes(self, targets: Sequence[int]) -> Mapping[int, int]:
        """Of every choice, also of those that are right for no text."""
        found = Counter(targets)
        return {choice: found[choice] for choice in range(len(self.choices))}

    def always(self, answer: int, targets: Sequence[int]) -> Tensor:
        """All likelihood on that choice."""
        return one_hot(torch.tensor(answer), len(self.choices)).float().expand(len(targets), -1)

    def combine(self, members: Sequence[Tensor]) -> Tensor:
        """The mean of the members' probabilities of each choice."""
        return torch.stack([rows.log_softmax(-1).exp() for rows in members]).mean(0).log()

    def find_right(self, rows: Tensor, targets: Sequence[int]) -> Bool[Tensor, " example"]:
        """Which texts the model would continue with their label."""
        return find_answers(rows) == torch.tensor(targets)

    def read_answers(self, rows: Tensor, label_names: tuple[str, ...], tokenizer: Tokenizer) -> list[Answer]:
        """The likeliest choice, and its probability among them."""
        chosen = find_answers(rows)
        probabilities = find_probabilities(rows).gather(1, chosen[:, None])[:, 0]
        return [Answer(self.choices[c], p) for c, p in zip(chosen.tolist(), probabilities.tolist(), strict=True)]

    def describe_target(self, target: int, label_names: tuple[str, ...], tokenizer: Tokenizer) -> str:
        """The label."""
        return self.choices[target]


class Continuation(CausalLanguageModel):
    """A row is the token ids that the model writes after a text."""

    def encode(self, domain: Domain, indices: Sequence[int], tokenizer: Tokenizer) -> list[EncodedText]:
        """The ends of texts that leave room for what is written."""
        num_new = min(NUM_NEW_TOKENS, tokenizer.max_tokens // 2)
        room = tokenizer.max_tokens - num_new
        return [EncodedText(tokenizer.encode_start(_join(domain, i), room), num_new=num_new) for i in indices]

    def read_answers(self, rows: Tensor, label_names: tuple[str, ...], tokenizer: Tokenizer) -> list[Answer]:
        """What is written; how probable that is is not known."""
        return [Answer(tokenizer.decode(read_ids(row)), float("nan")) for row in rows]


def _join(domain: Domain, i: int) -> str:
    """A text, with the second of a pair behind it."""
    return f"{domain.texts[i]} {domain.pairs[i]}" if domain.pairs else domain.texts[i]


def _continue(model: nn.Module, batch: Batch, i: int, weights: Mapping[str, Tensor] | None) -> Tensor:
    """One text at a time: padding would stand between it and what comes next."""
    ids = batch.input_ids[i : i + 1, batch.attention_mask[i].bool()]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return write_rows(model, inputs, batch.num_new, weights)
