"""One split of one domain, as text and label names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Domain:
    """Labelled text of one domain and split.

    Attributes:
        name: short name, used in results.
        title: how people call it.
        split: which part this is: calibrate, select, report, or the name of a file.
        texts: the sentences.
        labels: label name of each sentence; empty where the text has no labels.
        pairs: second text of each example, where a model judges pairs; else empty.
        metric: what answers are scored by; None is the usual metric of the task.
        threshold: the probability above which a text is given a label, where it may have several; None is the usual.
        choices: labels that text of this domain may have, also where none in this split does; those of `labels` always
            belong to them.
        notes: sentences on what was decided while reading, such as how many rows were left out; not compared.
    """

    name: str
    title: str
    split: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    pairs: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)
    metric: str | None = None
    threshold: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def all_choices(self) -> tuple[str, ...]:
        """Every label of the domain once, in order, whether or not a text of this split has it."""
        return tuple(sorted({*self.labels, *self.choices}))

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digest of texts, labels and, where there are any, pairs and labels that no text here has."""
        digest = hashlib.sha256()
        pairs = ("\x00pairs", *self.pairs) if self.pairs else ()
        unseen = sorted({*self.choices} - {*self.labels})
        choices = ("\x00choices", *unseen) if unseen else ()
        for part in (*self.texts, "\x00labels", *self.labels, *pairs, *choices):
            digest.update(part.encode("utf-8", "surrogatepass") + b"\x00")
        return digest.hexdigest()[:32]

    def encode_labels(self, label_names: tuple[str, ...]) -> tuple[int, ...]:
        """The position of each label in a model's `label_names`: by name, or as a number where the text has numbers.

        Raises:
            DomainError: a label is not one of the model's.
        """
        from fusion_ui.domains.labels import encode_labels

        return encode_labels(self.name, self.labels, label_names)
