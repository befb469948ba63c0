"""Everything that one state of the controls asks to be evaluated, as candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.evaluation.candidates import Candidate, Evaluation, checkpoint_candidate
from fusion_ui.evaluation.combined import ensemble_of
from fusion_ui.evaluation.guessing import CHANCE, MAJORITY
from fusion_ui.merging.labels import Heads
from fusion_ui.merging.plan import MergePlan
from fusion_ui.projects.labels import label_names
from fusion_ui.projects.measures import measure_by
from fusion_ui.projects.project import Project, read_split
from fusion_ui.tasks import find_task, unite_labels
from fusion_ui.ui.request import FuseRequest
from fusion_ui.workspace import Workspace

EXPERT_COLOR, MULTITASK_COLOR = "#9975c6", "#c63f5a"


@dataclass(frozen=True, eq=False)
class Comparison:
    """What to evaluate, on what, and what has to be prepared first."""

    candidates: tuple[Candidate, ...]
    plans: dict[str, MergePlan]
    evaluation: Evaluation
    in_domain: tuple[str, ...]

    def unmeasured(self, workspace: Workspace) -> dict[str, MergePlan]:
        """The candidates whose numbers are not known and whose statistics must be measured first, with their plans."""
        plans = {c.name: self.plans[c.name] for c in self._unknown}
        return {name: plan for name, plan in plans.items() if not workspace.is_measured(plan)}

    def pending_merges(self, candidates: Sequence[Candidate]) -> list[MergePlan]:
        """Which of the candidates must be merged before they can be evaluated further."""
        return [self.plans[c.name] for c in self._unknown if c in candidates]

    @cached_property
    def _unknown(self) -> list[Candidate]:
        return [c for c in self.candidates if c.name in self.plans and not c.is_known(self.evaluation)]


def compare(workspace: Workspace, project: Project, request: FuseRequest, evaluation: Evaluation) -> Comparison:
    """The candidates that `request` names, to be evaluated on one split of every domain."""
    plans = {s.name: workspace.plan(request.recipe(project, s.method, s.parameters)) for s in request.settings}
    experts = checkpoints_of(project)
    first = experts[project.experts[0].name]
    owners = {expert.domain: expert.name for expert in project.experts if expert.domain}
    candidates: list[Candidate] = [
        replace(workspace.candidate(plan, owners), name=name) for name, plan in plans.items()
    ]
    labels = {expert.name: dict(expert.labels) for expert in project.experts}
    singles = {
        name: checkpoint_candidate(f"expert {name}", f"Expert {name}", model, EXPERT_COLOR, first, labels[name])
        for name, model in experts.items()
    }
    included = [singles[name] for name in request.experts]
    if "experts" in request.references:
        candidates += singles.values()
    if "ensemble" in request.references and len(included) > 1 and has_ensemble(project):
        candidates.append(ensemble_of(included))
    if "multitask" in request.references and project.multitask is not None:
        model = Checkpoint("multitask", project.multitask, str(project.multitask))
        candidates.append(checkpoint_candidate("multi-task", "Multi-task model", model, MULTITASK_COLOR, first))
    if "guesses" in request.references:
        candidates += [guess for guess in (MAJORITY, CHANCE) if guess.answered(evaluation)]
    domain_of = {expert.name: expert.domain for expert in project.experts}
    return Comparison(tuple(candidates), plans, evaluation, tuple(domain_of[name] for name in request.experts))


def has_ensemble(project: Project) -> bool:
    """True if what the experts answer is enough to know what all of them together would; not of mere text."""
    tasks = [find_task(model.config) for model in checkpoints_of(project).values()]
    return all(task.has_ensemble for task in tasks) or all(domain.label_column for domain in project.domains)


def checkpoints_of(project: Project) -> dict[str, Checkpoint]:
    """Expert name -> its model."""
    return {e.name: Checkpoint(e.name, e.model, e.source or str(e.model), e.revision) for e in project.experts}


def project_evaluation(workspace: Workspace, project: Project, split: str, metric: str = "") -> Evaluation:
    """One split of every domain of a project, as its experts see it.

    Args:
        metric: what all domains that can be are scored by; empty for each domain's own.
    """
    domains = [read_split(domain, split) for domain in measure_by(project, metric).domains]
    names = [label_names(expert) for expert in project.experts]
    models = checkpoints_of(project)
    owned = [expert.domain or expert.name for expert in project.experts]
    own = dict(zip(owned, names, strict=True))
    tasks = {name: find_task(model.config) for name, model in zip(owned, models.values(), strict=True)}
    is_apart = project.heads == Heads.OWN
    together = unite_labels([*tasks.values()], names)
    return workspace.evaluation(domains, models[project.experts[0].name], together, own, tasks, is_apart)
