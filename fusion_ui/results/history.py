"""Merges that were evaluated, as they are remembered: settings, numbers, and which sentences were answered right.

A visitor's history is what a list of events amounts to. No sentence and no path stands in any of them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from fusion_ui.evaluation.candidates import Evaluation
from fusion_ui.evaluation.comparison import CandidateScores
from fusion_ui.evaluation.scores import DomainScore, mean_interval, scale_of
from fusion_ui.progress import Progress
from fusion_ui.tasks.scales import Scale

MAX_MERGES = 200
"""Of one visitor. What the slider only passed is forgotten first."""
MAX_AGE = 180 * 86400.0
"""Seconds."""


@dataclass(frozen=True)
class RememberedDomain:
    """Answers to one domain's sentences.

    Attributes:
        sentences: digest of the sentences, their order and their labels; where two merges share it, they can be
            compared sentence by sentence.
        right: one bit a sentence, packed, as base64; empty where answers are not right or wrong.
    """

    title: str
    sentences: str
    right: str
    score: DomainScore

    def unpack(self) -> Bool[Tensor, " sentence"]:
        """Which of the sentences were answered right."""
        packed = np.frombuffer(base64.b64decode(self.right), np.uint8)
        return torch.from_numpy(np.unpackbits(packed, count=self.score.num_examples)).bool()


@dataclass(frozen=True)
class RememberedMerge:
    """One merge and its numbers.

    Attributes:
        key: identifies project, merge and sentences.
        time: when it was evaluated, or the controls came to rest on it; seconds since 1970.
        project: name of a project that can be opened again, or "own".
        settings: the state of the controls in which this merge is what they say of its method, as JSON values.
        name: what the visitor calls it; empty for the title.
        is_settled: the controls stood still on it; otherwise the slider only passed.
    """

    key: str
    time: float
    project: str
    project_title: str
    title: str
    color: str
    method: str
    parameters: dict[str, Any]
    settings: dict[str, Any]
    domains: tuple[RememberedDomain, ...]
    name: str = ""
    is_settled: bool = False

    @property
    def label(self) -> str:
        """What to call it."""
        return self.name or self.title

    @property
    def mean(self) -> float:
        """Mean score, every domain counting the same."""
        return sum(domain.score.value for domain in self.domains) / len(self.domains)

    @property
    def scale(self) -> Scale:
        """How the mean is written; a score has its own."""
        return scale_of(domain.score for domain in self.domains)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean."""
        return mean_interval([domain.score for domain in self.domains])


@dataclass(frozen=True)
class Added:
    """A merge was evaluated."""

    merge: RememberedMerge
    kind: Literal["added"] = "added"


@dataclass(frozen=True)
class Settled:
    """The controls came to rest on a merge."""

    key: str
    time: float
    kind: Literal["settled"] = "settled"


@dataclass(frozen=True)
class Named:
    """The visitor gave a merge a name, or took it away."""

    key: str
    name: str
    kind: Literal["named"] = "named"


@dataclass(frozen=True)
class Removed:
    """The visitor removed a merge."""

    key: str
    kind: Literal["removed"] = "removed"


@dataclass(frozen=True)
class Left:
    """Where the controls stood at `time`."""

    time: float
    project: str
    settings: dict[str, Any]
    kind: Literal["left"] = "left"


Event = Added | Settled | Named | Removed | Left


@dataclass(frozen=True)
class History:
    """What one visitor did.

    Attributes:
        merges: key -> merge, oldest first.
        removed: keys of what was removed.
        last: where the controls stood last.
    """

    merges: dict[str, RememberedMerge] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    last: Left | None = None

    @property
    def newest_first(self) -> list[RememberedMerge]:
        """The merges in the order of a list."""
        return sorted(self.merges.values(), key=lambda merge: merge.time, reverse=True)

    def apply(self, events: Iterable[Event]) -> History:
        """The history after some events. What they say of merges that are gone is of no account."""
        merges, removed, last = dict(self.merges), set(self.removed), self.last
        for event in events:
            if isinstance(event, Left):
                last = event if last is None or event.time >= last.time else last
            elif isinstance(event, Added):
                merges.setdefault(event.merge.key, event.merge)
                removed.discard(event.merge.key)
            elif isinstance(event, Removed):
                merges.pop(event.key, None)
                removed.add(event.key)
            elif event.key in merges:
                if isinstance(event, Named):
                    merges[event.key] = replace(merges[event.key], name=event.name)
                else:
                    merges[event.key] = replace(merges[event.key], time=event.time, is_settled=True)
            if len(merges) > MAX_MERGES:
                merges.pop(min(merges, key=lambda key: _worth(merges[key])))
        return History(merges, frozenset(removed), last)

    def forget_before(self, time: float) -> History:
        """The history without what is older than `time`."""
        merges = {key: merge for key, merge in self.merges.items() if merge.time >= time}
        return replace(self, merges=merges, last=self.last if self.last and self.last.time >= time else None)

    def as_events(self) -> list[Event]:
        """The fewest events that amount to it."""
        gone = map(Removed, sorted(self.removed))
        return [*gone, *map(Added, self.merges.values()), *([self.last] if self.last else [])]


def _worth(merge: RememberedMerge) -> tuple[bool, bool, float]:
    return bool(merge.name), merge.is_settled, merge.time


def remember_domains(row: CandidateScores, evaluation: Evaluation) -> tuple[RememberedDomain, ...]:
    """A complete row's answers. Nothing is computed: every logit is known."""
    *_, logits = row.candidate.stream(evaluation, Progress())
    remembered = []
    for encoded, score in zip(row.candidate.answered(evaluation), row.scores, strict=True):
        packed = ""
        if encoded.task.has_right_answers:
            right = encoded.find_right(logits[encoded.domain.name])
            packed = base64.b64encode(np.packbits(right.numpy()).tobytes()).decode()
        identity = f"{encoded.domain.fingerprint} {encoded.targets}".encode()
        digest = hashlib.sha256(identity).hexdigest()[:16]
        remembered.append(RememberedDomain(encoded.domain.title, digest, packed, score))
    return tuple(remembered)
