"""Sequence to sequence: a text in, a text out, such as the name of a label (T5, BART)."""

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
from fusion_ui.errors import CheckpointError, DomainError
from fusion_ui.tasks.generation import end_tokens, read_ids, set_greedy, write_rows
from fusion_ui.tasks.inputs import model_inputs, start_token
from fusion_ui.tasks.metrics import Counts, Metric, macro_f1, share
from fusion_ui.tasks.task import Answer, Task
from fusion_ui.tasks.tokenizer import Tokenizer

MAX_NEW_TOKENS = 32
"""Length of an answer, its end not counted. Results that are kept depend on it."""

MAX_CLASSES = 50
"""Of more different labels than these nobody would guess one."""


def normalise_answer(text: str) -> str:
    """As answers are compared: without case, and any run of white space as one space."""
    return " ".join(text.split()).casefold()


class SequenceToSequence(Task):
    """A row is the token ids that the model writes, its likeliest at each step, padded with NaN.

    Args:
        tokenizer: reads rows; None where none are to be read.
    """

    name = "sequence-to-sequence"
    title = "text to text"
    auto_class = "AutoModelForSeq2SeqLM"
    pipeline = "text2text-generation"
    measures_answers = True

    def __init__(self, tokenizer: Tokenizer | None = None) -> None:
        self._tokenizer = tokenizer
        self._known: dict[tuple[int, ...], str] = {}
        self._written: dict[str, tuple[int, ...]] = {}
        self.metrics = (
            Metric("exact_match", "Exact match", self._count_exact, share, is_share=True),
            Metric("macro_f1", "Macro-F1", self._count_by_label, macro_f1),
        )

    def for_domain(self, domain: Domain, tokenizer: Tokenizer) -> SequenceToSequence:
        """The task with a tokenizer that reads its rows."""
        return SequenceToSequence(tokenizer)

    def for_typed_text(self, tokenizer: Tokenizer) -> SequenceToSequence:
        """The same."""
        return SequenceToSequence(tokenizer)

    def load_model(self, checkpoint: Checkpoint) -> nn.Module:
        """As any task's; and the model says with which token an answer begins and with which it ends."""
        model = super().load_model(checkpoint)
        start = f"The model {checkpoint.name} does not say which token "
        if start_token(model) < 0:
            raise CheckpointError(
                f"{start}its answers begin with. Write decoder_start_token_id into its config.json: the id of the "
                "padding token for T5, of </s> for BART."
            )
        if not end_tokens(model):
            raise CheckpointError(f"{start}its answers end with. Write eos_token_id into its config.json.")
        set_greedy(model)
        return model

    def encode(self, domain: Domain, indices: Sequence[int], tokenizer: Tokenizer) -> list[EncodedText]:
        """Texts with the tokens of their labels, where there are labels."""
        texts = super().encode(domain, indices, tokenizer)
        if not domain.labels:
            return texts
        answers = self._encode_labels(domain, tokenizer)
        return [replace(text, answer=answers[domain.labels[i]]) for text, i in zip(texts, indices, strict=True)]

    def read_targets(self, domain: Domain, label_names: tuple[str, ...], tokenizer: Tokenizer) -> tuple[str, ...]:
        """Each label as answers are compared."""
        if not domain.labels:
            raise DomainError(
                f"The domain {domain.name} has no labels, so the texts that a model writes cannot be scored. "
                "Name the column of the right answers."
            )
        answers = self._encode_labels(domain, tokenizer)
        for label in sorted(answers):
            told = f"The domain {domain.name} has the label {label[:80]!r}, which no answer can be: "
            if (num_tokens := len(answers[label]) - 1) > MAX_NEW_TOKENS:
                raise DomainError(
                    f"{told}it has {num_tokens} tokens, and answers are written up to {MAX_NEW_TOKENS}. "
                    "Shorten the label, or choose another column."
                )
            if normalise_answer(tokenizer.decode(answers[label])) != normalise_answer(label):
                raise DomainError(
                    f"{told}the tokenizer writes it as {tokenizer.decode(answers[label])[:80]!r}. "
                    "Rename the label in words that the model knows."
                )
        self._written = {normalise_answer(label): ids for label, ids in answers.items()}
        return tuple(map(normalise_answer, domain.labels))

    def compute_rows(self, model: nn.Module, batch: Batch, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """What the model writes for every text of a batch."""
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        return write_rows(model, inputs, MAX_NEW_TOKENS + 1, weights)  # one more, for the token that ends it

    def combine(self, members: Sequence[Tensor]) -> Tensor:
        """For each text what most members write; of equally many the first member's."""
        texts = [self._read(rows) for rows in members]
        votes = [[text[i] for text in texts] for i in range(len(members[0]))]
        chosen = [max(range(len(members)), key=lambda m, said=said: said.count(said[m])) for said in votes]
        return torch.stack([members[m][i] for i, m in enumerate(chosen)]) if chosen else members[0]

    def find_right(self, rows: Tensor, targets: Sequence[str]) -> Bool[Tensor, " example"]:
        """Which examples are answered with the text of their label."""
        said = map(normalise_answer, self._read(rows))
        return torch.tensor([a == b for a, b in zip(said, targets, strict=True)], dtype=torch.bool)

    def read_answers(self, rows: Tensor, label_names: tuple[str, ...], tokenizer: Tokenizer) -> list[Answer]:
        """What was written; how probable that is is not known."""
        return [Answer(text, float("nan")) for text in _write_out(rows, tokenizer)]

    def count_classes(self, targets: Sequence[str]) -> Mapping[str, int]:
        """Of each text that occurs as a label; of more than a few, none: such texts are written, and not chosen."""
        found = Counter(targets)
        return found if len(found) <= MAX_CLASSES else {}

    def always(self, answer: str, targets: Sequence[str]) -> Tensor:
        """The tokens of that label."""
        return torch.tensor(self._written[answer]).float().expand(len(targets), -1)

    def describe_target(self, target: str, label_names: tuple[str, ...], tokenizer: Tokenizer) -> str:
        """The label."""
        return target

    def fisher_terms(self, model: nn.Module, batch: Batch) -> list[tuple[Float[Tensor, ""], float]]:
        """The log-likelihood of the given label's text ("empirical"): the mean over all texts cannot be computed."""
        if batch.answer_ids is None:
            raise DomainError("Fisher information of a model that writes text needs labels. Name the label column.")
        logits = model(**model_inputs(model, batch)).logits[0]
        return [(logits.log_softmax(-1).gather(1, batch.answer_ids[0][:, None]).sum(), 1.0)]

    def training_loss(self, model: nn.Module, batch: Batch, targets: Sequence[str]) -> Float[Tensor, ""]:
        """Cross-entropy of the tokens of each answer, its end included, given those before them."""
        assert batch.answer_ids is not None and batch.answer_mask is not None  # `read_targets` refuses to go without
        logits = model(**model_inputs(model, batch)).logits
        return cross_entropy(logits[batch.answer_mask.bool()], batch.answer_ids[batch.answer_mask.bool()])

    def _count_exact(self, rows: Tensor, targets: Sequence[str]) -> Counts:
        right = self.find_right(rows, targets).double()
        return torch.stack([right, torch.ones_like(right)], 1)

    def _count_by_label(self, rows: Tensor, targets: Sequence[str]) -> Counts:
        """(tp, fp, fn) of every text that occurs as a label or as an answer, in turn."""
        said = [normalise_answer(text) for text in self._read(rows)]
        places = {label: i for i, label in enumerate(sorted({*said, *targets}))}
        chosen, true = (one_hot(torch.tensor([places[t] for t in part]), len(places)) for part in (said, targets))
        return torch.stack([chosen * true, chosen * (1 - true), (1 - chosen) * true], -1).flatten(1).double()

    def _read(self, rows: Tensor) -> list[str]:
        assert self._tokenizer is not None  # a domain's own task has one
        ids = [read_ids(row) for row in rows]
        for new in {*ids} - self._known.keys():
            self._known[new] = self._tokenizer.decode(new)
        return [self._known[row] for row in ids]

    def _encode_labels(self, domain: Domain, tokenizer: Tokenizer) -> dict[str, tuple[int, ...]]:
        """The tokens of each label, its end included."""
        labels = list(dict.fromkeys(domain.labels))
        if not all(map(str.strip, labels)):
            raise DomainError(
                f"The domain {domain.name} has an empty label, and a model that writes text has nothing to write for "
                "it. Fill it in, or leave those rows out."
            )
        return dict(zip(labels, tokenizer.encode_answers(labels), strict=True))


def _write_out(rows: Tensor, tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.decode(read_ids(row)) for row in rows]
