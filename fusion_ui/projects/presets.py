"""Projects that can be opened by name: models and data sets of the hub that are worth merging.

A preset is one file in ``assets/presets``; it names models and data and holds none of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fusion_ui.checkpoints.finding import find_checkpoint
from fusion_ui.checkpoints.trial import try_in_child
from fusion_ui.domains.hub_cache import read_hub_domain
from fusion_ui.errors import RecipeError
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.progress import Progress
from fusion_ui.projects.building import add_domain, add_expert, blank_project
from fusion_ui.projects.project import Project
from fusion_ui.settings import ASSETS, Settings

PRESETS = ASSETS / "presets"
MAX_SENTENCES = 1_500
"""Read of each data set: enough for the largest splits of a project."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PresetExpert(_Part):
    """One model of the hub."""

    name: str
    title: str
    model: str
    domain: str
    revision: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)


class PresetDomain(_Part):
    """One data set of the hub."""

    name: str
    title: str
    dataset: str
    config: str | None = None
    split: str | None = None
    text_column: str = "text"
    label_column: str = "label"
    labels: dict[str, str] = Field(default_factory=dict)


class Preset(_Part):
    """Models and data that belong together, by their names on the hub."""

    name: str
    title: str
    about: str
    base: str | None = None
    heads: str | None = None
    experts: tuple[PresetExpert, ...]
    domains: tuple[PresetDomain, ...]

    @model_validator(mode="after")
    def _belongs_together(self) -> Preset:
        known = {domain.name for domain in self.domains}
        if unknown := [expert.domain for expert in self.experts if expert.domain not in known]:
            raise ValueError(f"there is no domain {unknown[0]!r}")
        return self

    def recipe(self, method: str = "regmean") -> MergeRecipe:
        """The merge of its models by their names on the hub, to be weighed before anything is fetched."""
        experts = [
            {"name": e.name, "model": e.model, "revision": e.revision, "labels": e.labels, "weight": 1.0}
            for e in self.experts
        ]
        return parse_recipe({"method": method, "experts": experts, "heads": self.heads}, f"The preset {self.name}")


def read_presets(folder: Path = PRESETS) -> Mapping[str, Preset]:
    """Name -> preset, in the order of their files."""
    found = [Preset.model_validate(json.loads(f.read_text(encoding="utf-8"))) for f in sorted(folder.glob("*.json"))]
    return {preset.name: preset for preset in found}


def find_preset(name: str) -> Preset:
    """The preset called `name`.

    Raises:
        RecipeError: there is none of that name.
    """
    presets = read_presets()
    if not isinstance(name, str) or name not in presets:
        raise RecipeError(f"There is no preset {str(name)[:60]!r}. Choose one of: {', '.join(presets)}.")
    return presets[name]


def open_preset(
    preset: Preset, folder: Path, settings: Settings, progress: Progress, token: str | None = None
) -> tuple[Project, list[str]]:
    """Fetch a preset's models and data, or find them in the cache, and put them together as a project; and notes.

    Args:
        folder: where the sentences are written, split into calibrate, select and report.
        token: the visitor's own, for gated models and data.

    Raises:
        SourceUnavailableError: the hub cannot be reached and the cache does not hold all of it.
        FusionError: what the hub has is not what the preset expects.
    """
    project, notes = replace(blank_project(), title=preset.title, heads=preset.heads), list[str]()
    steps = len(preset.experts) + len(preset.domains)
    for done, expert in enumerate(preset.experts):
        part = progress.part(done / steps, (done + 1) / steps, f"{expert.title}: ")
        found = find_checkpoint(
            expert.name, expert.model, settings, expert.revision, token=token, progress=part, trusts_paths=False
        )
        try_in_child(found.directory, name=expert.name, progress=part)
        project, added = add_expert(project, expert.name, found)
        *others, last = project.experts
        last = replace(last, title=expert.title, labels=tuple(expert.labels.items()))
        project, notes = replace(project, experts=(*others, last)), notes + added
    for done, domain in enumerate(preset.domains, start=len(preset.experts)):
        progress.report(done / steps, f"{domain.title}: reading {domain.dataset}")
        source = read_hub_domain(
            settings.datasets_dir,
            domain.dataset,
            domain.name,
            config=domain.config,
            split=domain.split,
            text_column=domain.text_column,
            label_column=domain.label_column,
            num_examples=MAX_SENTENCES,
            token=token,
        )
        project, added = add_domain(project, domain.name, source, folder)
        *others, last = project.domains
        last = replace(last, title=domain.title, labels=tuple(domain.labels.items()))
        project, notes = replace(project, domains=(*others, last)), notes + added
    own = {expert.name: expert.domain for expert in preset.experts}
    project = replace(project, experts=tuple(replace(e, domain=own[e.name]) for e in project.experts))
    if preset.base:
        notes.append(f"Methods on task vectors need the base model: add {preset.base} as the base under Models.")
    progress.report(1.0, f"{preset.title} is ready")
    return project, notes


def preset_recipe(project: Project, folder: Path) -> dict[str, Any]:
    """The RegMean recipe of an opened preset: models by name and commit, data by paths relative to `folder`."""
    calibrate = {domain.name: domain.calibrate.relative_to(folder).as_posix() for domain in project.domains}
    experts = [
        {"name": e.name, "model": e.source, "revision": e.revision, "labels": dict(e.labels)}
        | {"calibration": {"data": calibrate[e.domain]}}
        for e in project.experts
    ]
    return parse_recipe({"method": "regmean", "experts": experts, "heads": project.heads}).model_dump(mode="json")
