"""Token classification: a label for every word, such as those of named entities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from fusion_ui.domains.batches import Batch, EncodedText
from fusion_ui.domains.cells import is_list
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.items import join_items, show_items, split_items
from fusion_ui.domains.labels import encode_labels
from fusion_ui.errors import DomainError
from fusion_ui.tasks.entities import OUTSIDE, describe_gaps, entity_tags
from fusion_ui.tasks.inputs import model_inputs
from fusion_ui.tasks.metrics import Metric
from fusion_ui.tasks.sequence_classification import (
    arrange_labels,
    expected_terms,
    find_answers,
    find_probabilities,
    knows_labels,
)
from fusion_ui.tasks.task import Answer, Task, join_rows
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.tasks.word_metrics import WORD_ACCURACY, Tags, entity_f1, is_read, is_right

UNREAD = "–"
"""Stands for the tag of a word that the model did not read."""


def take_words(
    logits: Float[Tensor, "text token label"], words: Int[Tensor, "text word"]
) -> Float[Tensor, "text word label"]:
    """The logits of each word's first token; NaN where it has none."""
    rows = logits.gather(1, words.clamp(min=0)[..., None].expand(-1, -1, logits.shape[-1]))
    return rows.masked_fill((words < 0)[..., None], torch.nan)


class TokenClassification(Task):
    """A row is the logits of every label at each word's first token. Other tokens of a word say nothing.

    Words that a model does not read, because they were cut off or make no token, are not scored.
    """

    name = "token-classification"
    title = "token classification"
    auto_class = "AutoModelForTokenClassification"
    pipeline = "token-classification"
    metrics = (entity_f1(), WORD_ACCURACY)
    reads_words = True

    def find_metric(self, name: str | None, label_names: tuple[str, ...] = ()) -> Metric:
        """F1 of entities, the usual metric where labels are tags of entities; else that of single words."""
        if not entity_tags(label_names):
            if name == "entity_f1":
                raise DomainError(
                    f"The labels {', '.join(label_names[:10])} are not tags of entities (O, B-…, I-…), so there is no "
                    "F1 of entities. Choose word_accuracy."
                )
            return super().find_metric(name or WORD_ACCURACY.name)
        found = super().find_metric(name)
        return entity_f1(label_names) if found.name == "entity_f1" else found

    def encode(self, domain: Domain, indices: Sequence[int], tokenizer: Tokenizer) -> list[EncodedText]:
        """The words at `indices` as a model reads them."""
        if domain.pairs:
            raise DomainError(f"The domain {domain.name} has pairs, and words are tagged in one text. Give one column.")
        return tokenizer.encode_words([_words(domain, i) for i in indices])

    def split_label(self, label: str) -> tuple[str, ...]:
        """The label of every word."""
        return split_items(label)

    def read_targets(self, domain: Domain, label_names: tuple[str, ...], tokenizer: Tokenizer) -> tuple[Tags, ...]:
        """The position of every word's label."""
        tags = [split_items(label) for label in domain.labels]
        for i, found in enumerate(tags):
            if len(words := _words(domain, i)) != len(found):
                cut = "" if is_list(domain.texts[i]) else " The text is no list, so it was cut into words at spaces."
                raise DomainError(
                    f"Example {i + 1} of the domain {domain.name} has {len(words)} words and {len(found)} labels: "
                    f"{' '.join(words)[:80]!r} and {' '.join(found)[:80]!r}.{cut} Give every word one label."
                )
        known = sorted({tag for found in tags for tag in found})
        positions = dict(zip(known, encode_labels(domain.name, known, label_names), strict=True))
        return tuple(tuple(positions[tag] for tag in found) for found in tags)

    def compute_rows(self, model: nn.Module, batch: Batch, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """The logits of each word's first token, NaN for words that were not read."""
        return take_words(super().compute_rows(model, batch, weights), _places(batch))

    def arrange(self, rows: Tensor, own: tuple[str, ...], names: tuple[str, ...]) -> Tensor:
        """One column for each of `names`; NaN for a label that the model does not know."""
        return arrange_labels(rows, own, names)

    def knows(self, own: tuple[str, ...], names: tuple[str, ...]) -> bool:
        """True with two of the labels at least."""
        return knows_labels(own, names)

    def combine(self, members: Sequence[Tensor]) -> Tensor:
        """The mean of logits; a label that some members do not know is averaged over those that do."""
        return torch.stack(list(members)).nanmean(0)

    def find_right(self, rows: Tensor, targets: Sequence[Tags]) -> Bool[Tensor, " example"]:
        """Which sentences have the right label at every word that was read."""
        return (is_right(rows, targets) | ~is_read(rows)).all(-1)

    def read_answers(self, rows: Tensor, label_names: tuple[str, ...], tokenizer: Tokenizer) -> list[Answer]:
        """The labels of each sentence's words as a list, and how probable all of them together are."""
        chosen, read = find_answers(rows), is_read(rows)
        probabilities = find_probabilities(rows).gather(-1, chosen[..., None])[..., 0].where(read, 1.0).prod(-1)
        return [
            Answer(join_items(_name(tags, known, label_names)), p)
            for tags, known, p in zip(chosen.tolist(), read.tolist(), probabilities.tolist(), strict=True)
        ]

    def count_classes(self, targets: Sequence[Tags]) -> Mapping[int, int]:
        """Of the label of each word, whichever sentence it stands in."""
        return Counter(tag for tags in targets for tag in tags)

    def always(self, answer: int, targets: Sequence[Tags]) -> Tensor:
        """That label at every word, also where a model would not read so far."""
        num_labels = max((tag for tags in targets for tag in tags), default=0) + 1
        rows = one_hot(torch.tensor(answer), num_labels).float()
        return join_rows([rows.expand(len(tags), -1) for tags in targets])

    def find_metrics(self, label_names: tuple[str, ...]) -> tuple[Metric, ...]:
        """F1 of entities only where the labels are their tags."""
        return (entity_f1(label_names), WORD_ACCURACY) if entity_tags(label_names) else (WORD_ACCURACY,)

    def describe_target(self, target: Tags, label_names: tuple[str, ...], tokenizer: Tokenizer) -> str:
        """The labels of the words as a list."""
        return join_items([label_names[i] for i in target])

    def explain(self, text: str, answer: str) -> str:
        """The words that have a label other than O, each with it: ``Ada B-PER Lovelace I-PER · London B-LOC``."""
        runs: list[list[str]] = [[]]
        # An answer ends with the last word that was read, so there may be fewer tags than words.
        for word, tag in zip(split_items(text), split_items(answer), strict=False):
            if tag.upper() != OUTSIDE and tag != UNREAD:
                runs[-1].append(f"{word} {tag}")
            elif runs[-1]:
                runs.append([])
        return " · ".join(" ".join(run) for run in runs if run) or "no word tagged"

    def check_labels(self, label_names: tuple[str, ...]) -> list[str]:
        """Kinds of entities that no tag begins, or that there are none."""
        return describe_gaps(label_names)

    def fisher_terms(self, model: nn.Module, batch: Batch) -> list[tuple[Float[Tensor, ""], float]]:
        """One term a word and label, weighted by the label's probability at the word.

        p(y|x) is the product over words, so d log p(y|x) is a sum of parts that are independent under p and of mean
        zero: of its square, products of two words vanish in the mean and each word's own square stays.
        """
        logits = take_words(model(**model_inputs(model, batch)).logits, _places(batch))[0]
        return [term for word in logits[is_read(logits)] for term in expected_terms(word)]

    def training_loss(self, model: nn.Module, batch: Batch, targets: Sequence[Tags]) -> Float[Tensor, ""]:
        """Cross-entropy of the label of each word that is read, at its first token."""
        places = _places(batch)
        rows = take_words(model(**model_inputs(model, batch)).logits, places)
        truth = torch.zeros(places.shape, dtype=torch.long)
        for place, tags in zip(truth, targets, strict=True):
            place[: len(tags)] = torch.tensor(tags)
        return cross_entropy(rows[places >= 0], truth[places >= 0])


def _words(domain: Domain, i: int) -> tuple[str, ...]:
    words = split_items(domain.texts[i])
    if not any(words):
        raise DomainError(
            f"Example {i + 1} of the domain {domain.name} has no words: {show_items(domain.texts[i])[:80]!r}. "
            "Remove it, or choose the column of words."
        )
    return words


def _places(batch: Batch) -> Int[Tensor, "text word"]:
    assert batch.words is not None, "texts are encoded as words"
    return batch.words


def _name(tags: Sequence[int], known: Sequence[bool], label_names: tuple[str, ...]) -> list[str]:
    """Names of the tags up to the last word that was read."""
    names = [label_names[tag] if was_read else UNREAD for tag, was_read in zip(tags, known, strict=True)]
    return names[: max((i for i, was_read in enumerate(known, 1) if was_read), default=0)]
