"""Flips: the examples that two models answer differently, and whether the one mends or breaks what the other says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from fusion_ui.domains.items import show_items
from fusion_ui.errors import DomainError
from fusion_ui.evaluation.candidates import Evaluation
from fusion_ui.evaluation.paired import Difference, Right, paired_difference
from fusion_ui.evaluation.stream import Logits
from fusion_ui.tasks.task import Answer


class FlipKind(StrEnum):
    """What a model does to the answer of the one that it is held against."""

    FIXED = "fixed"
    BROKEN = "broken"
    BOTH_WRONG = "both wrong"


@dataclass(frozen=True)
class Flip:
    """An example that two models answer differently.

    Attributes:
        domain: name of its domain.
        text, pair: the sentence, and the second one where the example is a pair.
        label: the true one.
        answer, other: of the model, and of the one that it is held against.
    """

    domain: str
    text: str
    pair: str | None
    label: str
    answer: Answer
    other: Answer
    kind: FlipKind

    @property
    def confidence(self) -> float:
        """How sure both are: the smaller of the two answers' probabilities; 0 where one is not said."""
        return min(self.answer.sureness or 0.0, self.other.sureness or 0.0)

    def describe(self) -> dict[str, Any]:
        """As JSON values; None is a probability that is not said."""
        answers = {"answer": self.answer, "other": self.other}
        said = {name: {"label": one.label, "probability": one.sureness} for name, one in answers.items()}
        return asdict(self) | said


@dataclass(frozen=True)
class DomainFlips:
    """How many examples of one domain flip, of each kind.

    Attributes:
        difference: share of right answers of the model less that of the other, with a 95 % interval.
    """

    domain: str
    title: str
    split: str
    num_examples: int
    num_fixed: int
    num_broken: int
    num_both_wrong: int
    difference: Difference

    @property
    def num_flips(self) -> int:
        """Of every kind."""
        return self.num_fixed + self.num_broken + self.num_both_wrong


@dataclass(frozen=True)
class FlipReport:
    """Two models' disagreement.

    Attributes:
        flips: those of which both models are surest first.
        domains: one entry a domain, in the evaluation's order.
        difference: mean of the domains' differences, with a 95 % interval.
    """

    flips: tuple[Flip, ...]
    domains: tuple[DomainFlips, ...]
    difference: Difference

    @property
    def num_examples(self) -> int:
        """Examples that both answered."""
        return sum(domain.num_examples for domain in self.domains)

    def describe(self) -> dict[str, Any]:
        """As JSON values, without the flips themselves."""
        return {"difference": asdict(self.difference), "domains": [asdict(domain) for domain in self.domains]}


def find_flips(model: Logits, other: Logits, evaluation: Evaluation) -> FlipReport:
    """The examples that `model` and `other` answer differently, on the domains that both answered and whose right
    answers are known.

    Raises:
        DomainError: there is no such domain.
    """
    flips: list[Flip] = []
    domains: list[DomainFlips] = []
    rights: list[tuple[Right, Right]] = []
    for encoded in evaluation.domains:
        name, task, tokenizer = encoded.domain.name, encoded.task, evaluation.tokenizer
        names = encoded.label_names
        if name not in model or name not in other or not encoded.targets or not task.has_right_answers:
            continue
        right: Right = (encoded.find_right(model[name]),)
        other_right: Right = (encoded.find_right(other[name]),)
        answers = [task.read_answers(logits[name], names, tokenizer) for logits in (model, other)]
        found: list[Flip] = []
        for i, (answer, instead) in enumerate(zip(*answers, strict=True)):
            if answer.label == instead.label:
                continue
            kind = FlipKind.FIXED if right[0][i] else FlipKind.BROKEN if other_right[0][i] else FlipKind.BOTH_WRONG
            place, pairs = encoded.order[i], encoded.domain.pairs
            text, pair = encoded.domain.texts[place], pairs[place] if pairs else None
            label = task.explain(text, task.describe_target(encoded.targets[i], names, tokenizer))
            answer, instead = (replace(said, label=task.explain(text, said.label)) for said in (answer, instead))
            found.append(Flip(name, show_items(text), pair, label, answer, instead, kind))
        counts = Counter(flip.kind for flip in found)
        flips += found
        domains.append(
            DomainFlips(
                name,
                encoded.domain.title,
                encoded.domain.split,
                len(answers[0]),
                counts[FlipKind.FIXED],
                counts[FlipKind.BROKEN],
                counts[FlipKind.BOTH_WRONG],
                paired_difference(right, other_right),
            )
        )
        rights.append((right, other_right))
    if not domains:
        raise DomainError(
            "Both models answer no sentence to which a right answer is known. Give labelled text of a domain. A "
            "quantity that is predicted (regression) is near or far, never right or wrong."
        )
    difference = paired_difference(tuple(a[0] for a, _ in rights), tuple(b[0] for _, b in rights))
    return FlipReport(tuple(sorted(flips, key=lambda flip: -flip.confidence)), tuple(domains), difference)


def filter_flips(
    flips: Iterable[Flip], text: str = "", domain: str = "", label: str = "", kind: str = ""
) -> tuple[Flip, ...]:
    """The flips of one domain, true label and kind that have `text` in them, case not compared; empty is any."""
    wanted = text.casefold()
    return tuple(
        flip
        for flip in flips
        if domain in ("", flip.domain)
        and label in ("", flip.label)
        and kind in ("", flip.kind)
        and (wanted in flip.text.casefold() or wanted in (flip.pair or "").casefold())
    )
