"""What every experiment works with: the project's text, its trained models, recipes of merges, and their scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.protocol.settings import METHODS, ProtocolSettings
from benchmarks.protocol.trainer import Trained, Trainer
from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.domain import Domain
from fusion_ui.evaluation.candidates import Candidate, Evaluation, SingleModel, checkpoint_candidate
from fusion_ui.evaluation.combined import ensemble_of
from fusion_ui.evaluation.experiments import Experiment
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.merging.subsets import Names
from fusion_ui.methods import find_method
from fusion_ui.progress import Progress
from fusion_ui.projects.project import Project, read_split
from fusion_ui.sources.files import write_json
from fusion_ui.workspace import Workspace

Models = Mapping[str, Path]
"""Name of an expert -> its directory."""
ACCURACY, MACRO_F1 = "accuracy", "macro_f1"
VERSION = 1
"""Raise it when an experiment would give other rows than before."""


@dataclass(frozen=True)
class Study:
    """One run of the protocol over one project.

    Attributes:
        folder: where finished rows are kept, so that a run that was killed goes on.
        out: where recipes, tables and figures are written.
    """

    workspace: Workspace
    project: Project
    settings: ProtocolSettings
    trainer: Trainer
    folder: Path
    out: Path

    @property
    def names(self) -> tuple[str, ...]:
        """The experts, each of the domain of its name, in the fixed order of the project."""
        return tuple(expert.name for expert in self.project.experts)

    @property
    def titles(self) -> dict[str, str]:
        """Domain name -> title."""
        return {domain.name: domain.title for domain in self.project.domains}

    @cached_property
    def shipped(self) -> Models:
        """The project's own experts."""
        return {expert.name: expert.model for expert in self.project.experts}

    @cached_property
    def files(self) -> dict[str, Path]:
        """Expert name -> the text that it is calibrated on, which no model was trained on."""
        return {domain.name: domain.calibrate for domain in self.project.domains}

    def training_text(self, name: str) -> Domain:
        """What an expert is trained on."""
        domain = next(domain for domain in self.project.domains if domain.name == name)
        return cut(read_split(domain, "train"), self.settings.num_train)

    @cached_property
    def report(self) -> Evaluation:
        """The sentences that everything is scored on."""
        domains = [cut(read_split(domain, "report"), self.settings.num_report) for domain in self.project.domains]
        return self.workspace.evaluation(domains, self.trainer.base, self.trainer.label_names)

    def expert(self, name: str, seed: int) -> Trained:
        """The expert of a domain in one set."""
        return self.trainer.train([self.training_text(name)], self.settings.seeded(seed))

    def experts(self, seed: int) -> dict[str, Path]:
        """A whole set: all from the same head."""
        return {name: self.expert(name, seed).directory for name in self.names}

    def multitask(self, seed: int) -> Trained:
        """The model trained on the text of all experts of a set."""
        return self.trainer.train([self.training_text(name) for name in self.names], self.settings.seeded(seed))

    def recipe(
        self,
        method: str,
        models: Models,
        files: Mapping[str, Path] | None = None,
        num_examples: int | None = None,
        seed: int = 0,
    ) -> MergeRecipe:
        """The merge of `models`, each calibrated on its own text."""
        files = files or self.files
        experts = [
            {"name": name, "model": str(model), "calibration": {"data": str(files[name])}}
            for name, model in models.items()
        ]
        statistics = {"num_examples": num_examples or self.settings.num_calibration, "seed": seed}
        return parse_recipe({"method": method, "experts": experts, "statistics": statistics})

    def merges(self, what: str, models: Models, files: Mapping[str, Path] | None = None) -> dict[str, Candidate]:
        """Title of a method -> its merge of `models`; the recipes are written as `what` says."""
        found = {}
        for method in METHODS:
            recipe = self.write_recipe(f"{what}-{method}", self.recipe(method, models, files))
            found[find_method(method).title] = self.workspace.candidate(self.workspace.plan(recipe))
        return found

    def write_recipe(self, name: str, recipe: MergeRecipe) -> MergeRecipe:
        """Write a recipe for ``fusion-ui merge``, and give it back."""
        write_json(self.out / "results" / "recipes" / f"{name}.json", recipe.model_dump(mode="json"))
        return recipe

    def single(self, name: str, directory: Path) -> SingleModel:
        """One model by itself."""
        checkpoint = Checkpoint(name, directory, str(directory))
        return checkpoint_candidate(name, name, checkpoint, skeleton=self.trainer.base)

    def ensemble(self, models: Models) -> Candidate:
        """All of them together."""
        return ensemble_of([self.single(name, model) for name, model in models.items()])

    def experiment(
        self, what: str, method: str, choose: Callable[[MergeRecipe], Mapping[Names, MergeRecipe]]
    ) -> Experiment:
        """Merges of some of the project's own experts, and each of these by itself.

        Args:
            what: under which name the recipe of all of them is written.
            choose: from that recipe to those of some of its experts.
        """
        recipes = choose(self.write_recipe(f"{what}-{method}", self.recipe(method, self.shipped)))
        merges = {names: self.workspace.candidate(self.workspace.plan(part)) for names, part in recipes.items()}
        experts = {name: self.single(name, model) for name, model in self.shipped.items()}
        return Experiment(merges, experts, {name: name for name in experts}, self.report)

    def score(
        self,
        candidate: Candidate,
        domains: Collection[str] | None = None,
        metric: str = ACCURACY,
        on: Evaluation | None = None,
    ) -> dict[str, float]:
        """Domain name -> the score of its sentences' answers: by default the share that are as their label says.

        Args:
            on: other text than all of *report*.
        """
        evaluation = on or self.report
        wanted = tuple(
            replace(d, metric=d.task.find_metric(metric))
            for d in evaluation.domains
            if domains is None or d.domain.name in domains
        )
        *_, last = self.workspace.evaluate(
            [candidate], replace(evaluation, domains=wanted), self.names, self.trainer.progress
        )
        return {score.domain: score.value for score in last.scores}

    def keep(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """A finished table, made if this is the first time."""
        if (found := self.find(name)) is None:
            write_json(self._table(name), json.loads(make().to_json(orient="records")))
            found = self.find(name)
        assert found is not None
        return found

    def find(self, name: str) -> pd.DataFrame | None:
        """A finished table; None where there is none yet."""
        path = self._table(name)
        return pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def _table(self, name: str) -> Path:
        return self.folder / self.key / f"{name}.json"

    @cached_property
    def key(self) -> str:
        """Digest of settings, models and text."""
        models = [Checkpoint(name, model, "").fingerprint for name, model in self.shipped.items()]
        texts = [d.domain.fingerprint for d in self.report.domains]
        files = [
            read_split(domain, split).fingerprint for domain in self.project.domains for split in ("train", "calibrate")
        ]
        parts: list[Any] = [VERSION, self.settings.describe(), self.trainer.key([], self.settings.training)]
        return hashlib.sha256(json.dumps([*parts, models, texts, files]).encode()).hexdigest()[:16]


def cut(domain: Domain, count: int) -> Domain:
    """The first sentences of a domain, whose splits are in random order."""
    return replace(domain, texts=domain.texts[:count], labels=domain.labels[:count], pairs=domain.pairs[:count])


def open_study(
    workspace: Workspace, project: Project, settings: ProtocolSettings, out: Path, progress: Progress
) -> Study:
    """A study whose models and finished rows are kept in the workspace's cache."""
    assert project.base is not None
    base, folder = Checkpoint("base", project.base, str(project.base)), workspace.settings.cache_dir / "protocol"
    trainer = Trainer(base, base.label_names, folder / "models", progress)
    return Study(workspace, project, settings, trainer, folder / "tables", out)
