"""What a project is: where its models and its text lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPLITS = ("train", "calibrate", "select", "report")


@dataclass(frozen=True)
class ProjectExpert:
    """One fine-tuned model: a directory that `from_pretrained` reads, and its own domain."""

    name: str
    title: str
    model: Path
    domain: str


@dataclass(frozen=True)
class ProjectDomain:
    """One domain's text: a CSV file with the columns ``text,label`` for each split."""

    name: str
    title: str
    train: Path
    calibrate: Path
    select: Path
    report: Path


@dataclass(frozen=True)
class Project:
    """A base model, a multi-task reference, experts and domains, all on this machine's disk."""

    name: str
    title: str
    base: Path
    multitask: Path
    experts: tuple[ProjectExpert, ...]
    domains: tuple[ProjectDomain, ...]

    def describe(self) -> dict[str, Any]:
        """The paths as plain JSON values, as ``fusion-ui demo --json`` prints them."""
        return {
            "base": str(self.base),
            "multitask": str(self.multitask),
            "experts": [{"name": e.name, "model": str(e.model)} for e in self.experts],
            "domains": [{"name": d.name} | {s: str(getattr(d, s)) for s in SPLITS} for d in self.domains],
        }
