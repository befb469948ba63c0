"""A stranger's data is read in a child process, of which only its findings come back.

A file of a few kilobytes can unfold to gigabytes, and a reader can hang or die on it. What is read for the person at
this machine alone needs none of that: `Reading.read` is the same work, done here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from fusion_ui.child import ChildLimits, answer_parent, run_child
from fusion_ui.domains.columns import Preview, preview
from fusion_ui.domains.summary import DomainSummary, summarise
from fusion_ui.errors import DomainError, FusionError, StatisticError
from fusion_ui.progress import Progress
from fusion_ui.projects.data import Columns, DataPlace, look_at, read_data
from fusion_ui.projects.project import Project, ProjectDomain
from fusion_ui.sources.upload import shown

Answer = TypeVar("Answer")
MAX_ANSWER_BYTES = 8 << 20
MAX_LABEL_CHARACTERS = 1 << 20
"""Of all labels together, as they come back; free text in the place of a label has many."""


@dataclass(frozen=True)
class HubFinding:
    """Configurations of a hub data set with their splits, and the first rows of the chosen ones."""

    parts: Mapping[str, tuple[str, ...]]
    preview: Preview


@dataclass(frozen=True)
class WrittenDomain:
    """A domain whose files lie in the visitor's folder, notes on it, and how many sentences its source had."""

    domain: ProjectDomain
    notes: tuple[str, ...]
    num_sentences: int


@dataclass(frozen=True)
class Reading(ABC, Generic[Answer]):
    """Something to find out from data."""

    answers: ClassVar[TypeAdapter[Any]]
    refusal: ClassVar[type[FusionError]] = DomainError

    @property
    @abstractmethod
    def what(self) -> str:
        """What is read, for a sentence."""

    @property
    def is_online(self) -> bool:
        """True where the hub is asked."""
        return False

    @abstractmethod
    def read(self) -> Answer:
        """Do it, in this process.

        Raises:
            FusionError: it cannot be read.
        """

    def check(self, answer: Answer) -> Answer:
        """The answer of a child; refuses one that cannot be right."""
        return answer


@dataclass(frozen=True)
class FileLook(Reading[Preview]):
    """The first rows of a data file, and a guess at its columns."""

    path: Path
    answers: ClassVar[TypeAdapter[Any]] = TypeAdapter(Preview)

    @property
    def what(self) -> str:
        """The file."""
        return shown(self.path.name)

    def read(self) -> Preview:
        """The most frequent labels alone where they are very long."""
        found = preview(self.path)
        return replace(found, num_by_label=_first_labels(found.num_by_label))


@dataclass(frozen=True)
class HubLook(Reading[HubFinding]):
    """The parts of a data set on the hub, and its first rows."""

    place: DataPlace
    answers: ClassVar[TypeAdapter[Any]] = TypeAdapter(HubFinding)

    @property
    def what(self) -> str:
        """The data set."""
        return _name(self.place)

    @property
    def is_online(self) -> bool:
        """It is on the hub."""
        return True

    def read(self) -> HubFinding:
        """As `look_at`."""
        return HubFinding(*look_at(self.place))


@dataclass(frozen=True)
class Summary(Reading[DomainSummary]):
    """Classes, lengths in tokens of the project's first model, and duplicates of an uploaded file."""

    project: Project
    place: DataPlace
    columns: Columns
    max_tokens: int
    answers: ClassVar[TypeAdapter[Any]] = TypeAdapter(DomainSummary)

    @property
    def what(self) -> str:
        """The file."""
        return _name(self.place)

    def read(self) -> DomainSummary:
        """Without labels where they are very long, which a note says."""
        tokenizer = None
        if self.project.experts:  # only then is a tokenizer imported, which takes seconds
            from fusion_ui.projects.building import present_models
            from fusion_ui.tasks.tokenizer import Tokenizer

            tokenizer = Tokenizer(present_models(self.project)[0], self.max_tokens)
        assert self.place.path is not None
        found = summarise(read_data(self.place, self.columns, self.place.path.parent), tokenizer)
        if len(_first_labels(found.num_by_label)) == len(found.num_by_label):
            return found
        note = f"{len(found.num_by_label):,} different labels are too many to show."
        return replace(found, num_by_label={}, notes=(*found.notes, note))


@dataclass(frozen=True)
class DomainWriting(Reading[WrittenDomain]):
    """One more domain of a project, cut into its parts and written to a folder."""

    project: Project
    place: DataPlace
    name: str
    columns: Columns
    folder: Path
    cache: Path
    metric: str = ""
    threshold: float | None = None
    answers: ClassVar[TypeAdapter[Any]] = TypeAdapter(WrittenDomain)

    @property
    def what(self) -> str:
        """The file or data set."""
        return _name(self.place)

    @property
    def is_online(self) -> bool:
        """For a data set on the hub."""
        return self.place.path is None

    def read(self) -> WrittenDomain:
        """As `read_data` and `write_domain`."""
        from fusion_ui.projects.building import write_domain
        from fusion_ui.projects.measures import task_of

        has_empty_labels = any(task_of(expert).has_empty_labels for expert in self.project.experts)
        source = read_data(self.place, self.columns, self.cache, has_empty_labels)
        found = write_domain(self.project, self.name, source, self.folder, self.metric, self.threshold)
        return WrittenDomain(found[0], tuple(found[1]), len(source.texts))

    def check(self, answer: WrittenDomain) -> WrittenDomain:
        """Its files lie in the folder."""
        domain = answer.domain
        for path in domain.files:
            if not path.resolve().is_relative_to(self.folder.resolve()):
                raise DomainError(f"The process that read {self.what} wrote elsewhere. Bring another file.")
        return answer


@dataclass(frozen=True)
class StatisticsCheck(Reading[None]):
    """Whether a statistics file is whole and belongs to a model of the project."""

    project: Project
    expert: str
    path: Path
    answers: ClassVar[TypeAdapter[Any]] = TypeAdapter(None)
    refusal: ClassVar[type[FusionError]] = StatisticError

    @property
    def what(self) -> str:
        """The file."""
        return shown(self.path.name)

    def read(self) -> None:
        """As `check_statistics`."""
        from fusion_ui.projects.building import check_statistics

        check_statistics(self.project, self.expert, self.path)


_READINGS: dict[str, type[Reading[Any]]] = {
    kind.__name__: kind for kind in (FileLook, HubLook, Summary, DomainWriting, StatisticsCheck)
}


def read_confined(
    reading: Reading[Answer], seconds: float, memory_bytes: int, file_bytes: int, progress: Progress
) -> Answer:
    """What `reading.read` finds, in a child process.

    Args:
        seconds, memory_bytes: that the child may take.
        file_bytes: of the largest file that it may write.

    Raises:
        FusionError: it cannot be read, or not within these limits.
        StoppedError: `progress` was stopped.
    """
    limits = ChildLimits(seconds, memory_bytes, MAX_ANSWER_BYTES, file_bytes, is_online=reading.is_online)
    kind = type(reading)
    task = [kind.__name__, TypeAdapter(kind).dump_python(reading, mode="json")]
    message = f"Reading {reading.what} in a process of its own"
    ending = run_child(__spec__.name, task, limits, progress, message)
    if ending.error is not None:
        raise ending.error
    reason = ending.failure
    if reason is None:
        try:
            return reading.check(reading.answers.validate_python(ending.answer))
        except ValidationError:
            reason = "gave no answer that could be understood"
    raise reading.refusal(
        f"The process that read {reading.what} {reason}. Nothing of yours is lost, and everybody else goes on. "
        "Bring a smaller or simpler file."
    )


def _work(task: Any, progress: Progress) -> Any:
    name, fields = task
    reading = TypeAdapter(_READINGS[name]).validate_python(fields)
    return reading.answers.dump_python(reading.read(), mode="json")


def _name(place: DataPlace) -> str:
    return shown(place.path.name if place.path else place.dataset)


def _first_labels(num_by_label: Mapping[str, int]) -> dict[str, int]:
    """Labels from the first on, as many as `MAX_LABEL_CHARACTERS` hold."""
    kept, room = dict[str, int](), MAX_LABEL_CHARACTERS
    for label, count in num_by_label.items():
        room -= len(label) + 1
        if room < 0:
            break
        kept[label] = count
    return kept


if __name__ == "__main__":
    answer_parent(_work)
