"""A recipe whose models and data were found: ready to be measured, merged and keyed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from fusion_ui.checkpoints.base import match_base
from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.compatibility import check_mergeable, read_header
from fusion_ui.checkpoints.finding import find_checkpoint
from fusion_ui.checkpoints.heads import output_parameters
from fusion_ui.domains.choices import labels_in
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import RecipeError, StatisticError
from fusion_ui.merging.labels import Heads, LabelSpace, align_labels, check_tasks, name_outputs
from fusion_ui.merging.layer_scaling import LayerScaling
from fusion_ui.merging.recipe import Calibration, MergeRecipe
from fusion_ui.merging.rules import ParameterRules, check_matches, check_pairs
from fusion_ui.methods.base import MergeMethod
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.sources.files import sha256_of
from fusion_ui.statistics.bundle import read_statistic
from fusion_ui.statistics.measure import is_cached, measure
from fusion_ui.statistics.sharing import check_holds
from fusion_ui.statistics.statistic import Statistic, StatisticKind, StatisticSettings
from fusion_ui.tasks import find_task, unite_labels
from fusion_ui.tasks.task import Task

VERSION = 1
"""Part of every key: raise it when the same recipe would give other weights than before."""


@dataclass(frozen=True, eq=False)
class MergePlan:
    """What a recipe names, found on this machine. Reading weights and measuring statistics comes later."""

    recipe: MergeRecipe
    method: MergeMethod
    experts: tuple[Checkpoint, ...]
    base: Checkpoint | None
    calibration: tuple[Domain | Path | None, ...]
    """For each expert the text of its domain, or the path of a statistics file."""
    labels: LabelSpace

    @cached_property
    def layer_scaling(self) -> LayerScaling | None:
        """The step after the method, where the recipe has one."""
        return self.recipe.make_layer_scaling()

    @property
    def title(self) -> str:
        """The method with its parameters, and the step after it, for a legend."""
        return ", ".join(part.describe() for part in (self.method, self.layer_scaling) if part)

    @property
    def calibration_text(self) -> tuple[Domain, ...]:
        """The text that statistics are measured on, of the experts that are not calibrated by a file of statistics."""
        return tuple(source for source in self.calibration if isinstance(source, Domain))

    @property
    def choices(self) -> list[tuple[str, ...]]:
        """The labels in the text of each expert whose task chooses among them, whether or not the method reads it."""
        sources = [expert.calibration for expert in self.recipe.experts]
        return [
            labels_in([Path(source.data)], source.text_column, source.label_column)
            if task.has_choices and source is not None and source.data is not None
            else ()
            for task, source in zip(self.tasks, sources, strict=True)
        ]

    @property
    def label_names(self) -> list[tuple[str, ...]]:
        """Each expert's labels in the order of its head, under the names that the recipe gives them."""
        return [
            tuple(entry.labels.get(label, label) for label in expert.label_names)
            for entry, expert in zip(self.recipe.experts, self.experts, strict=True)
        ]

    @property
    def tasks(self) -> list[Task]:
        """Each expert's task."""
        return [find_task(expert.config) for expert in self.experts]

    @property
    def rules(self) -> ParameterRules:
        """What is merged otherwise than the rest."""
        return ParameterRules(self.recipe.rules, tuple(expert.name for expert in self.recipe.experts))

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Every label that any expert knows, once."""
        return self.labels.names or unite_labels(self.tasks, self.label_names)

    def with_parameters(self, **parameters: object) -> MergePlan:
        """The same plan with some of the method's parameters replaced."""
        recipe = self.recipe.with_parameters(**parameters)
        changed = replace(self, recipe=recipe, method=recipe.make_method())
        changed.check_files()
        return changed

    @property
    def statistic_settings(self) -> StatisticSettings:
        """How statistics are measured: as the recipe says, with what the method's parameters ask for besides."""
        return self.method.extend_settings(self.recipe.statistics.settings)

    def check_files(self) -> None:
        """Raise `StatisticError` where a statistics file holds less than the method would use."""
        if StatisticKind.GRAM not in self.method.requires:
            return
        methods = [self.method, *(rule.adapt(self.method) for rule in self.recipe.rules)]
        needs_whole = any(getattr(method, "alpha", 0) != 0 for method in methods)
        for expert, source in zip(self.experts, self.calibration, strict=True):
            if not isinstance(source, Path):
                continue
            statistic = read_statistic(source)
            check_holds(expert, statistic, self.statistic_settings)
            if statistic.is_diagonal and needs_whole:
                raise StatisticError(
                    f"The statistics of {expert.name} hold only the diagonals of the Gram matrices, which serve "
                    "alpha = 0 alone. Set alpha to 0, or ask the data's owner for whole matrices."
                )

    @cached_property
    def family_key(self) -> str:
        """Digest of all but the method's parameters, the rules and the step after it: what a preparation depends on.

        What a method measures while it merges depends on its parameters too.
        """
        parts: list[object] = [VERSION, self.method.name, self.recipe.weights, [e.fingerprint for e in self.experts]]
        parts.append(self.base.fingerprint if self.base else None)
        parts.append([self.labels.heads, self.labels.names, self.labels.positions])
        if self.method.needs_text:
            parts.append(asdict(self.method))
        if self.method.needs_calibration():
            parts.append(self.statistic_settings.describe())
            parts.append([_identity(source) for source in self.calibration])
            parts.append([expert.tokenizer_fingerprint for expert in self.experts])
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    @cached_property
    def key(self) -> str:
        """Digest of everything that decides the merged weights."""
        parts: list[object] = [self.family_key, asdict(self.method)]
        if self.layer_scaling:
            parts.append(asdict(self.layer_scaling))
        if self.recipe.rules:  # else the keys of results that are known already stay what they are
            parts.append(self.rules.identity)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def make_plan(recipe: MergeRecipe, settings: Settings) -> MergePlan:
    """Find everything a recipe names, and check that the experts can be merged, before anything large is read.

    Raises:
        FusionError: something is missing or does not fit; the message says what.
    """
    method = recipe.make_method()
    if obstacle := method.find_obstacle(len(recipe.experts), recipe.base is not None):
        raise RecipeError(obstacle)
    layer_scaling = recipe.make_layer_scaling()
    experts = tuple(
        find_checkpoint(e.name, e.model, settings, e.revision, e.base or recipe.base) for e in recipe.experts
    )
    base = find_checkpoint("base", recipe.base, settings) if recipe.base else None
    headers = [read_header(model) for model in experts]
    heads = output_parameters(headers[0].shapes)  # in which models may differ: labels are aligned by name
    check_mergeable(headers, heads)
    if base:
        match_base(read_header(base), headers[0])
    check_tasks(experts, recipe.heads)
    labels = _align(recipe, experts, heads)
    if layer_scaling and (obstacle := layer_scaling.find_obstacle(experts[0].tensors.names, base is not None)):
        raise RecipeError(obstacle)
    reads_labels = find_task(experts[0].config).measures_answers
    calibration = tuple(_find_calibration(e.name, e.calibration, method, reads_labels) for e in recipe.experts)
    plan = MergePlan(recipe, method, experts, base, calibration, labels)
    plan.check_files()
    tensors, apart = experts[0].tensors, heads if labels.heads is not Heads.SHARED else frozenset[str]()
    names = [name for name in tensors.names if tensors.is_floating_point(name) and name not in apart]
    check_matches(recipe.rules, names)
    _check_measuring(plan)
    if plan.statistic_settings.input_sums:
        check_pairs(recipe.rules, names)
    return plan


def _check_measuring(plan: MergePlan) -> None:
    """Raise `RecipeError` where a rule asks for other statistics than the rest: they are measured once for all."""
    for rule in plan.recipe.rules:
        how = rule.adapt(plan.method).extend_settings(plan.recipe.statistics.settings)
        if how != plan.statistic_settings:
            raise RecipeError(
                f"The rule for {rule.parameters!r} sets {', '.join(rule.overrides)}, which decides what is measured. "
                "Set it for the whole merge, under 'parameters' of the recipe."
            )


def _align(recipe: MergeRecipe, experts: Sequence[Checkpoint], parameters: frozenset[str]) -> LabelSpace:
    """The experts' labels under the names that the recipe gives them, aligned."""
    renamed = []
    for entry, expert in zip(recipe.experts, experts, strict=True):
        if unknown := sorted(entry.labels.keys() - set(expert.label_names)):
            raise RecipeError(
                f"The model {expert.name} has no label {unknown[0][:80]!r} to rename. "
                f"Its labels are: {', '.join(expert.label_names[:20])}."
            )
        renamed.append((expert.name, [entry.labels.get(label, label) for label in expert.label_names]))
    return align_labels(name_outputs(experts, renamed), recipe.heads, parameters)


def measure_statistics(
    plan: MergePlan, settings: Settings, progress: Progress
) -> dict[StatisticKind, tuple[Statistic, ...]]:
    """The statistics that the plan's method needs, one an expert, from files, the cache, or measured now."""
    kinds, count = sorted(plan.method.requires), len(plan.experts)
    measured: dict[StatisticKind, tuple[Statistic, ...]] = {}
    for k, kind in enumerate(kinds):
        found = []
        for i, (expert, source) in enumerate(zip(plan.experts, plan.calibration, strict=True)):
            done = (k * count + i) / (count * len(kinds))
            part = progress.part(done, done + 1 / (count * len(kinds)), f"{_TITLES[kind]} of {expert.name}: ")
            if isinstance(source, Path):
                found.append(read_statistic(source))
            elif isinstance(source, Domain):
                found.append(measure(expert, source, kind, plan.statistic_settings, settings, part))
        measured[kind] = tuple(found)
    return measured


def is_measured(plan: MergePlan, settings: Settings) -> bool:
    """True if no statistic that the plan's method needs would have to be measured."""
    how = plan.statistic_settings
    return all(
        not isinstance(source, Domain) or is_cached(expert, source, kind, how, settings)
        for kind in plan.method.requires
        for expert, source in zip(plan.experts, plan.calibration, strict=True)
    )


_TITLES = {StatisticKind.GRAM: "Gram matrices", StatisticKind.FISHER: "Fisher information"}


def _find_calibration(
    expert: str, calibration: Calibration | None, method: MergeMethod, reads_labels: bool
) -> Domain | Path | None:
    if not method.needs_calibration():
        return None
    if calibration is None:
        given = "'data'" if method.needs_text else "'data' or 'statistics'"
        raise RecipeError(f"{method.title} needs calibration data for {expert}: give {given} under 'calibration'.")
    if method.needs_text and calibration.data is None:
        raise RecipeError(
            f"{method.title} runs text of every expert through the layers that are merged already, so the statistics "
            f"file given for {expert} cannot stand for it. Give 'data' under 'calibration', or choose RegMean."
        )
    if calibration.statistics is not None:
        read_statistic(Path(calibration.statistics))
        return Path(calibration.statistics)
    assert calibration.data is not None  # the recipe's own check: exactly one of the two
    # Most statistics need no labels, so a missing label column is not asked for.
    path, label = Path(calibration.data), calibration.label_column if reads_labels else None
    return _read_text(path, expert, calibration.text_column, label, calibration.pair_column, _stamp(path))


@lru_cache(maxsize=64)
def _read_text(
    path: Path,
    expert: str,
    text_column: str,
    label_column: str | None,
    pair_column: str | None,
    stamp: tuple[int, int] | None,
) -> Domain:
    """The calibration text, read again only when the file has changed: a slider asks for it many times a second."""
    return load_domain(path, expert, text_column, label_column, pair_column=pair_column)


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes with a file's content; None for one that is not there."""
    if not path.is_file():
        return None
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _identity(source: Domain | Path | None) -> str:
    if isinstance(source, Domain):
        return source.fingerprint
    return sha256_of(source) if source else ""
