"""By which metric each domain of a project is scored: its task's usual one, its own choice, or one for all."""

from __future__ import annotations

from dataclasses import replace

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.projects.project import Project, ProjectExpert
from fusion_ui.tasks import find_task
from fusion_ui.tasks.task import Task


def task_of(expert: ProjectExpert) -> Task:
    """The task of a project's model."""
    return find_task(Checkpoint(expert.name, expert.model, expert.source or str(expert.model)).config)


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
