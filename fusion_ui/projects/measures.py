"""By which metric each domain of a project is scored: its task's usual one, its own choice, or one for all."""

from __future__ import annotations

from dataclasses import replace

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import DomainError, ParameterError
from fusion_ui.projects.project import Project, ProjectExpert
from fusion_ui.tasks import find_task
from fusion_ui.tasks.causal_language_model import CausalLanguageModel, MultipleChoice
from fusion_ui.tasks.multi_label import MultiLabelClassification
from fusion_ui.tasks.task import Task


def task_of(expert: ProjectExpert) -> Task:
    """The task of a project's model."""
    return find_task(Checkpoint(expert.name, expert.model, expert.source or str(expert.model)).config)


def check_measure(
    project: Project, owner: ProjectExpert | None, text: Domain, metric: str, threshold: float | None
) -> None:
    """Raise unless text can be scored like this.

    Args:
        owner: the model whose own domain the text becomes; None where it is nobody's.
        metric: empty for the usual one.
        threshold: None for the usual one.

    Raises:
        DomainError: the owner's task has no such metric for such text.
        ParameterError: the threshold is no probability, or no model of the project gives several labels.
    """
    if threshold is not None:
        if not has_threshold(project):
            raise ParameterError("A threshold is for models that give a text several labels; these do not. Empty it.")
        MultiLabelClassification(threshold)
    if owner is None or not metric:
        return
    task = task_of(owner)
    if text.labels and isinstance(task, CausalLanguageModel):
        known = [found.name for found in MultipleChoice.metrics]
        if metric not in known:
            raise DomainError(
                f"The text of {text.name} has labels, so {owner.name} chooses among them, which {metric[:40]!r} does "
                f"not score. Score it by one of: {', '.join(known)}; or choose no label column, and the text itself is "
                "scored."
            )
        return
    task.find_metric(metric)


def has_threshold(project: Project) -> bool:
    """True if a model of the project gives a text every label that is probable enough."""
    return any(task_of(expert).has_threshold for expert in project.experts)


def metric_choices(project: Project) -> list[tuple[str, str]]:
    """Title and name of every metric that a domain of the project can be scored by."""
    metrics = (metric for expert in project.experts for metric in task_of(expert).metrics)
    return [*dict.fromkeys((metric.title, metric.name) for metric in metrics)]


def measure_by(project: Project, metric: str) -> Project:
    """The project with its domains scored by a metric, where their task has it; empty changes nothing."""
    if not metric:
        return project
    tasks = {expert.domain: task_of(expert) for expert in project.experts}
    others = set(tasks.values())

    def knows(domain: str) -> bool:
        # Which task text without a model of its own is of shows only when it is read.
        own = {tasks[domain]} if domain in tasks else others
        return all(metric in [known.name for known in task.metrics] for task in own)

    domains = (replace(d, metric=metric) if knows(d.name) else d for d in project.domains)
    return replace(project, domains=tuple(domains))
