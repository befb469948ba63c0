"""Answers put together from several models: the ensemble, and one encoder with a head of its own for every expert."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from fusion_ui.evaluation.candidates import Candidate, Evaluation, SingleModel
from fusion_ui.evaluation.stream import EncodedDomain, Logits
from fusion_ui.progress import Progress
from fusion_ui.tasks.task import Task

ENSEMBLE_COLOR = "#159a86"


@dataclass(frozen=True, eq=False)
class Ensemble(Candidate):
    """Several models' answers put together as their task does it (the mean of logits): as many passes as members."""

    members: tuple[Candidate, ...]

    def stream(self, evaluation: Evaluation, progress: Progress) -> Iterator[Logits]:
        """Logits of the first examples of every domain, more with every step, until all are there."""
        for latest in _in_step([member.stream(evaluation, progress) for member in self.members]):
            yield {
                d.domain.name: _combine(d.task, [logits[d.domain.name] for logits in latest])
                for d in evaluation.domains
            }

    def is_known(self, evaluation: Evaluation) -> bool:
        """True if every member's logits are."""
        return all(member.is_known(evaluation) for member in self.members)


def ensemble_of(members: Sequence[Candidate]) -> Ensemble:
    """The ensemble of some models."""
    key = "ensemble " + " ".join(member.key for member in members)
    return Ensemble("ensemble", "Ensemble", key, ENSEMBLE_COLOR, True, tuple(members))


@dataclass(frozen=True, eq=False)
class OwnHeads(Candidate):
    """A merged encoder under the heads of its experts: each domain is answered by the head that is meant for it."""

    members: tuple[SingleModel, ...]
    owners: Mapping[str, str]
    """Domain name -> name of the expert whose own it is."""

    def stream(self, evaluation: Evaluation, progress: Progress) -> Iterator[Logits]:
        """Logits of the first examples of every domain, more with every step, until all are there."""
        parts = [(member, part) for member, part in self._parts(evaluation) if part.domains]
        for latest in _in_step([member.stream(part, progress) for member, part in parts]):
            yield {name: logits for part in latest for name, logits in part.items()}

    def is_known(self, evaluation: Evaluation) -> bool:
        """True if every head's logits on its own domains are."""
        return all(member.is_known(part) for member, part in self._parts(evaluation))

    def _parts(self, evaluation: Evaluation) -> list[tuple[SingleModel, Evaluation]]:
        owners = [self._owner(encoded) for encoded in evaluation.domains]
        return [
            (member, replace(evaluation, domains=tuple(
                d for d, owner in zip(evaluation.domains, owners, strict=True) if owner is member
            )))
            for member in self.members
        ]  # fmt: skip

    def _owner(self, encoded: EncodedDomain) -> SingleModel:
        """The head of the domain's own expert or of that name, else the first that knows all its labels, else any."""
        domain = encoded.domain
        labels = {name.casefold() for label in set(domain.labels) for name in encoded.task.split_label(label)}
        own = self.owners.get(domain.name, domain.name)
        named = [member for member in self.members if member.name == own]
        knowing = [m for m in self.members if labels <= {label.casefold() for label in m.label_names}]
        return [*named, *knowing, *self.members][0]


def _in_step(streams: Sequence[Iterator[Logits]]) -> Iterator[list[Logits]]:
    """The latest of every stream, after every round in which any of them had something new."""
    latest: list[Logits] = [{} for _ in streams]
    is_running = True
    while is_running:
        is_running = False
        for i, stream in enumerate(streams):
            step = next(stream, None)
            if step is not None:
                latest[i], is_running = step, True
        if is_running:
            yield list(latest)


def _combine(task: Task, members: Sequence[Tensor]) -> Tensor:
    """The ensemble's rows for the texts that all members answered."""
    count = min(map(len, members))
    return task.combine([rows[:count] for rows in members])
