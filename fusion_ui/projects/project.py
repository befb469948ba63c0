"""What a project is: where its models and its text lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fusion_ui.domains.choices import labels_in
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.items import rename_items
from fusion_ui.domains.loaders import load_domain

SPLITS = ("train", "calibrate", "select", "report")
CUTS = SPLITS[1:]
"""What every domain has; its labels are those of all three."""
Renames = tuple[tuple[str, str], ...]
FROM_FILE = ":statistics"
"""Stands for an expert's statistics file where the name of a calibration domain could stand."""


@dataclass(frozen=True)
class ProjectExpert:
    """One fine-tuned model and its own domain.

    Attributes:
        model: a directory that `from_pretrained` reads.
        domain: name of its own domain; empty where the project has none for it.
        source, revision: where it came from, and the commit, where it was not made here.
        statistics: a file that stands for its calibration data.
        labels: pairs of one of its labels and the name that it goes by in this project.
        base: of an adapter that was folded into a hub model, that model as ``owner/name@commit``.
    """

    name: str
    title: str
    model: Path
    domain: str
    source: str = ""
    revision: str | None = None
    statistics: Path | None = None
    labels: Renames = ()
    base: str | None = None


@dataclass(frozen=True)
class ProjectDomain:
    """One domain's text: a CSV file with the columns ``text,label`` for each split.

    Attributes:
        labels: as of `ProjectExpert`, for the labels in the files.
        pair_column: column of the second texts, where the examples are pairs.
        metric: what answers are scored by; None is the usual metric of the domain's task.
        threshold: as of a `Domain`.
        label_column: None where the text has no labels, which language models do not need.
    """

    name: str
    title: str
    train: Path
    calibrate: Path
    select: Path
    report: Path
    labels: Renames = ()
    pair_column: str | None = None
    metric: str | None = None
    label_column: str | None = "label"
    threshold: float | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Of all its splits."""
        return tuple(getattr(self, split) for split in SPLITS)


@dataclass(frozen=True)
class Project:
    """Experts and domains, all on this machine's disk, and a base model and a multi-task reference where there are.

    Attributes:
        heads: what becomes of the experts' heads where their labels differ.
        base_source: the base as ``owner/name@commit``, where it came from the hub.
    """

    name: str
    title: str
    base: Path | None
    multitask: Path | None
    experts: tuple[ProjectExpert, ...]
    domains: tuple[ProjectDomain, ...]
    heads: str | None = None
    base_source: str | None = None

    @property
    def is_complete(self) -> bool:
        """True if there is something to merge and something to score it on."""
        return bool(self.experts and self.domains)

    def describe(self) -> dict[str, Any]:
        """The paths as plain JSON values, as ``fusion-ui demo --json`` prints them."""
        return {
            "base": str(self.base),
            "multitask": str(self.multitask),
            "experts": [{"name": e.name, "model": str(e.model)} for e in self.experts],
            "domains": [{"name": d.name} | {s: str(getattr(d, s)) for s in SPLITS} for d in self.domains],
        }


def read_split(domain: ProjectDomain, split: str) -> Domain:
    """One of the `SPLITS` of a domain, with pairs where it has them, its labels under the names that they go by.

    Raises:
        DomainError: its file is gone or damaged.
    """
    label, pair = domain.label_column, domain.pair_column
    found = load_domain(getattr(domain, split), domain.name, label_column=label, title=domain.title, pair_column=pair)
    names = dict(domain.labels)
    known = labels_in([getattr(domain, part) for part in CUTS], "text", label)
    labels, choices = (tuple(rename_items(label, names) for label in part) for part in (found.labels, known))
    return replace(found, labels=labels, metric=domain.metric, threshold=domain.threshold, choices=choices)
