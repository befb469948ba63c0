"""The facade: prepare, merge, evaluate, sweep, export. The page and the command line stand on this alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import ParameterError
from fusion_ui.evaluation.candidates import Candidate, Evaluation, SingleModel, make_evaluation
from fusion_ui.evaluation.combined import OwnHeads
from fusion_ui.evaluation.comparison import CandidateScores, compare
from fusion_ui.evaluation.loaded import bind_weights
from fusion_ui.evaluation.search import RISK, BestValue, SearchRow, check_apart, search_best
from fusion_ui.evaluation.store import ResultStore
from fusion_ui.evaluation.sweep import sweep_values
from fusion_ui.execution import Recent, Turns
from fusion_ui.job_log import JobLog
from fusion_ui.merging.doctor import examine, find_reference
from fusion_ui.merging.export import export_merge
from fusion_ui.merging.finiteness import check_finite
from fusion_ui.merging.labels import Heads
from fusion_ui.merging.layer_report import LayerReport
from fusion_ui.merging.merge import MergedModel, merge_once
from fusion_ui.merging.plan import MergePlan, is_measured, make_plan, measure_statistics
from fusion_ui.merging.recipe import MergeRecipe
from fusion_ui.merging.sequential import SequentialSource
from fusion_ui.merging.slots import SlotSource
from fusion_ui.parameters import find_range
from fusion_ui.preparations import Preparations
from fusion_ui.progress import Progress
from fusion_ui.projects.demo import prepare_demo
from fusion_ui.projects.project import Project
from fusion_ui.results.card import model_card
from fusion_ui.settings import Settings
from fusion_ui.tasks.task import Task

LOGGER = logging.getLogger("fusion_ui")


class Workspace:
    """One process's models, caches and turns. Thread-safe; holds nothing that belongs to one visitor."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.turns, self.jobs = Turns(), JobLog()
        self.results = ResultStore(settings.results_dir, settings.max_results_bytes)
        self._preparations = Preparations(self.turns, self._source)
        self._merged: Recent[MergedModel] = Recent(settings.max_cached_merges)
        self._passing: Recent[MergedModel] = Recent(1)
        self._examined: Recent[tuple[LayerReport, ...]] = Recent(8)
        # Apart, because nothing makes them cheap to merge again once quick merges have pushed them out.
        self._merged_on_text: Recent[MergedModel] = Recent(1)
        if settings.num_threads:
            torch.set_num_threads(settings.num_threads)

    def prepare_demo(self, progress: Progress | None = None) -> Project:
        """The demo project, made ready on disk the first time."""
        return prepare_demo(self.settings, progress)

    def plan(self, recipe: MergeRecipe) -> MergePlan:
        """Find what a recipe names and check that it can be merged; reads no weights."""
        return make_plan(recipe, self.settings)

    def is_measured(self, plan: MergePlan) -> bool:
        """True if `measure` would find everything in files or in the cache."""
        if plan.method.needs_text:
            return self._merges_of(plan).peek(plan.key) is not None
        return is_measured(plan, self.settings)

    def measure(self, plan: MergePlan, progress: Progress | None = None) -> None:
        """Have all statistics in the disk cache, or the merge itself where its method measures while it merges."""
        if plan.method.needs_text:
            self.merge(plan, progress)
            return
        measure_statistics(plan, self.settings, progress or Progress())

    def prepare(self, plan: MergePlan, progress: Progress | None = None) -> None:
        """Do what the plan's merges share under any value of the method's parameters, so that each becomes cheap."""
        self._preparations.make(plan, progress or Progress())

    def prepare_in_background(self, plan: MergePlan) -> None:
        """Start `prepare` unless it is done or under way. It takes turns with what people wait for."""
        self._preparations.start(plan)

    def merge(self, plan: MergePlan, progress: Progress | None = None, is_passing: bool = False) -> MergedModel:
        """Merge, measuring what is missing; cheap where `prepare` was called for the same experts and data.

        Args:
            is_passing: it is one of many, and pushes out of memory none that somebody asked for by itself.
        """
        # Somebody else may come to wait for the same merge, so it is urgent even where idle work asked for it first.
        progress = self.turns.promote(progress or Progress())
        merges = self._merges_of(plan)
        if is_passing and merges is self._merged and merges.peek(plan.key) is None:
            merges = self._passing
        return merges.get_or_make(plan.key, lambda: self._merge(plan, progress))

    def merge_seconds(self, plan: MergePlan) -> float | None:
        """How long the plan's merge took, if it is still in memory; preparation not included."""
        merged = self._merges_of(plan).peek(plan.key)
        return merged.seconds if merged else None

    def examine(
        self, plan: MergePlan, progress: Progress | None = None, base: Path | None = None
    ) -> tuple[LayerReport, ...]:
        """What the plan's merge did to every parameter, what that stood on, and what should be looked at.

        Args:
            base: what the experts' changes are counted from where the plan has none, see `find_reference`.
        """
        progress, start = self.turns.promote(progress or Progress()), find_reference(plan, self.settings, base)
        names = [expert.name for expert in plan.experts]  # in the sentences, but not in the merge's own key
        key = f"{plan.key} {start and start.fingerprint} {names}"
        return self._examined.get_or_make(key, lambda: self._examine(plan, start, progress))

    def candidate(
        self, plan: MergePlan, owners: Mapping[str, str] | None = None, is_passing: bool = False
    ) -> Candidate:
        """The plan's merge as something to evaluate. Nothing is merged until logits must be computed.

        Args:
            owners: domain name -> the expert whose own it is, where they do not share a name.
            is_passing: as of `merge`.
        """
        method, key = plan.method, f"merge {plan.key} {self.settings.max_tokens_per_text}"
        title, first = plan.title, plan.experts[0]
        if plan.labels.heads is not Heads.OWN:

            def load(progress: Progress) -> Callable:
                return bind_weights(first, self.merge(plan, progress, is_passing).tensors)

            return SingleModel(method.name, title, key, method.color, False, plan.labels.names, load, plan.tasks[0])

        def load_with(head: dict[str, torch.Tensor], progress: Progress) -> Callable:
            return bind_weights(first, {**self.merge(plan, progress, is_passing).tensors, **head})

        members = []
        for expert, names, task in zip(plan.experts, plan.label_names, plan.tasks, strict=True):
            head = {name: expert.tensors.read(name) for name in plan.labels.parameters}
            own, bind = f"{key} head {expert.fingerprint}", partial(load_with, head)
            members.append(SingleModel(expert.name, title, own, method.color, False, names, bind, task))
        return OwnHeads(method.name, title, key, method.color, False, tuple(members), owners or {})

    def evaluation(
        self,
        domains: Sequence[Domain],
        model: Checkpoint,
        label_names: tuple[str, ...] | None = None,
        own_labels: Mapping[str, tuple[str, ...]] | None = None,
        own_tasks: Mapping[str, Task] | None = None,
        has_own_heads: bool = False,
    ) -> Evaluation:
        """Domains as models with `model`'s tokenizer see them, answered among `label_names`, or `model`'s own.

        Args:
            own_labels: expert's domain -> the expert's labels in order, for text whose labels are numbers.
            own_tasks: expert's domain -> the expert's task, where they are not all of one.
            has_own_heads: each expert keeps its head, and a domain's labels are those of its own expert.
        """
        own = own_labels or {}, own_tasks or {}
        return make_evaluation(domains, model, self.results, self.settings, label_names, *own, has_own_heads)

    def evaluation_of(
        self, domains: Sequence[Domain], plan: MergePlan, owners: Mapping[str, str] | None = None
    ) -> Evaluation:
        """Domains as the plan's merge sees them, answered among all labels that its experts know.

        Args:
            owners: as of `candidate`.
        """
        domain_of = {expert: domain for domain, expert in (owners or {}).items()}
        names = [domain_of.get(expert.name, expert.name) for expert in plan.experts]
        known = dict(zip(names, plan.choices, strict=True))
        domains = [replace(d, choices=(*d.choices, *known.get(d.name, ()))) for d in domains]
        own, tasks = dict(zip(names, plan.label_names, strict=True)), dict(zip(names, plan.tasks, strict=True))
        return self.evaluation(domains, plan.experts[0], plan.all_labels, own, tasks, plan.labels.heads is Heads.OWN)

    def evaluate(
        self,
        candidates: Sequence[Candidate],
        evaluation: Evaluation,
        in_domain: Sequence[str],
        progress: Progress | None = None,
    ) -> Iterator[CandidateScores]:
        """Scores of every candidate, chunk by chunk and in turn, so that all move together.

        Raises:
            StoppedError: `progress` was stopped; what was computed is kept.
        """
        return compare(candidates, evaluation, in_domain, progress or Progress())

    def sweep(
        self,
        plan: MergePlan,
        name: str,
        values: Sequence[float],
        evaluation: Evaluation,
        in_domain: Sequence[str],
        progress: Progress | None = None,
        first: int | None = None,
    ) -> Iterator[tuple[float, CandidateScores]]:
        """Scores of the plan's merge at each value of the parameter `name`, factorised once.

        Args:
            first: as of `sweep_values`, where merging again costs little.
        """
        progress = progress or Progress()
        plans = {value: plan.with_parameters(**{name: value}) for value in values}
        candidates = {value: self.candidate(plans[value], is_passing=True) for value in plans}
        unknown = [plans[value] for value in plans if not candidates[value].is_known(evaluation)]
        first = first if plan.method.can_prepare() else None
        sharing = self._preparations.made_for(unknown, progress)
        yield from sweep_values(candidates, evaluation, in_domain, progress, sharing, first)

    def find_best(
        self,
        plan: MergePlan,
        name: str,
        values: Sequence[float],
        select: Evaluation,
        in_domain: Sequence[str],
        report: Evaluation | None = None,
        progress: Progress | None = None,
        risk: float = RISK,
    ) -> Generator[SearchRow, None, BestValue]:
        """Yield rows while the best value of the parameter `name` is sought; return it with its score on `report`.

        Args:
            select: the domains to choose on.
            report: domains that have no say in the choice, and are read only after it.
            risk: chance that the best value is dropped early; 0 drops none.

        Raises:
            ParameterError: `name` is no number of the method, or a value is not accepted.
            DomainError: `report` holds what the value is chosen on.
        """
        progress = progress or Progress()
        find_range(type(plan.method), plan.method.title, name)
        check_apart(select, report)
        if not values:
            raise ParameterError(f"There is no value of {name} to try. Give at least one.")
        plans = {value: plan.with_parameters(**{name: value}) for value in values}
        candidates = {value: self.candidate(plans[value], is_passing=True) for value in plans}
        unknown = [plans[value] for value in plans if not candidates[value].is_known(select)]
        with self._preparations.made_for(unknown, progress.part(0, 0.2)):
            outcome = yield from search_best(candidates, select, in_domain, progress.part(0.2, 0.9), risk)
        progress.report(0.9, f"{name} {outcome.best:g} on the sentences kept back")
        chosen = candidates[outcome.best]
        scores = [*compare([chosen], report, in_domain, progress.part(0.9, 1))][-1] if report else None
        return BestValue(name, outcome, scores)

    def export(self, plan: MergePlan, out: Path, progress: Progress | None = None) -> MergedModel:
        """Merge and write a directory that `from_pretrained` loads, with the recipe and the merge report.

        Returns:
            The merge; its tensors are read from `out` when asked for.
        """
        progress = progress or Progress()
        # Never from a preparation: the same path, and so the same bits, every time.
        source, rest = self._source(plan, progress, 0.9)
        return export_merge(plan, source, out, model_card(plan), rest)

    def _merges_of(self, plan: MergePlan) -> Recent[MergedModel]:
        return self._merged_on_text if plan.method.needs_text else self._merged

    def _merge(self, plan: MergePlan, progress: Progress) -> MergedModel:
        prepared = self._preparations.find(plan)
        if prepared is None:
            return self._merge_once(plan, progress)
        with progress.turn():
            return prepared.merge(plan.method, progress, plan.rules, plan.layer_scaling)

    def _merge_once(self, plan: MergePlan, progress: Progress) -> MergedModel:
        source, rest = self._source(plan, progress, 0.9)
        return merge_once(source, plan.method, rest, plan.rules, plan.layer_scaling)

    def _examine(self, plan: MergePlan, start: Checkpoint | None, progress: Progress) -> tuple[LayerReport, ...]:
        merged = self.merge(plan, progress.part(0, 0.5))
        source, rest = self._source(replace(plan, base=start), progress.part(0.5, 1), 0.1)
        return examine(source, merged, plan.method, plan.rules, rest)

    def _source(self, plan: MergePlan, progress: Progress, measuring: float) -> tuple[SlotSource, Progress]:
        """What the plan merges, and the progress left for merging it when measuring took the share `measuring`."""
        if plan.method.needs_calibration():
            check_finite(plan.experts)
        if plan.method.needs_text:
            return SequentialSource(plan, self.settings, progress), progress
        measuring = measuring if plan.method.requires else 0.0
        statistics = measure_statistics(plan, self.settings, progress.part(0, measuring))
        seed, with_bias = plan.recipe.statistics.seed, plan.statistic_settings.input_sums
        source = SlotSource(plan.experts, plan.recipe.weights, statistics, plan.base, seed, plan.labels, with_bias)
        return source, progress.part(measuring, 1)
