"""Labels of a project's models and data under the names that they share, as a table that can be edited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.compatibility import read_header
from fusion_ui.checkpoints.heads import output_parameters
from fusion_ui.domains.checks import count_labels
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import FusionError, RecipeError
from fusion_ui.merging.labels import Heads, align_labels, check_tasks, name_outputs
from fusion_ui.projects.measures import task_of
from fusion_ui.projects.project import Project, ProjectExpert, Renames

MAX_LABEL = 80
MAX_DATA_LABELS = 50
"""Of one domain: text with more different labels is scored as it is, and its labels are not listed."""
LabelRow = tuple[str, str, str]
"""Whose label (a model's name, or a domain's with `DATA` behind it), the label, and the name that it goes by."""
DATA = " (data)"


def label_table(project: Project) -> list[LabelRow]:
    """Every label of every model, and those of the data, with the name that each goes by; none of models that write
    text.
    """
    if project.experts and not any(map(own_labels, project.experts)):
        return []
    rows = [
        (expert.name, label, dict(expert.labels).get(label, label))
        for expert in project.experts
        for label in own_labels(expert)
    ]
    owners = {expert.domain: expert for expert in project.experts}
    for domain in (domain for domain in project.domains if domain.label_column):
        task = task_of(owners[domain.name]) if domain.name in owners else None
        if task and not (task.has_label_answers or task.reads_words):
            continue  # quantities, or several labels in one
        labels = sorted(count_labels(load_domain(domain.report, domain.name)))
        if len(labels) <= MAX_DATA_LABELS:
            rows += [(domain.name + DATA, label, dict(domain.labels).get(label, label)) for label in labels]
    return rows


def rename_labels(project: Project, rows: Sequence[Sequence[str]]) -> Project:
    """The project with its labels called as the table says.

    Raises:
        RecipeError: a name is empty, or a model would have one label twice, or the table is not the project's.
    """
    if [tuple(row[:2]) for row in rows] != [row[:2] for row in label_table(project)]:
        raise RecipeError("The table of labels is not this project's any more. Look at it again and repeat the change.")
    names: dict[str, list[tuple[str, str]]] = {}
    for whose, label, name in rows:
        name = " ".join(str(name).split())[:MAX_LABEL]
        if not name:
            raise RecipeError(f"The label {label!r} of {whose} needs a name. Write its own to leave it as it is.")
        names.setdefault(whose, []).append((label, name))
    for expert in project.experts:  # data may call two labels one: "4 stars" and "5 stars" are both positive
        folded = [name.casefold() for _, name in names.get(expert.name, ())]
        if twice := next((name for name in folded if folded.count(name) > 1), None):
            raise RecipeError(f"Two labels of {expert.name} would be called {twice!r}. Give each label its own name.")

    def renames(whose: str) -> Renames:
        return tuple((label, name) for label, name in names.get(whose, ()) if label != name)

    return replace(
        project,
        experts=tuple(replace(e, labels=renames(e.name)) for e in project.experts),
        domains=tuple(replace(d, labels=renames(d.name + DATA)) for d in project.domains),
    )


def explain_labels(project: Project) -> str:
    """One sentence: which labels the merged model will answer with, or why the models cannot share a head yet."""
    if not project.experts:
        return ""
    experts = [(expert.name, label_names(expert)) for expert in project.experts]
    if not any(names for _, names in experts):
        return "These models write text: they have no labels to match, and all of them is merged."
    heads = Heads(project.heads) if project.heads else None
    try:
        models = [_checkpoint(expert) for expert in project.experts]
        check_tasks(models, heads)
        found = align_labels(name_outputs(models, experts), heads, output_parameters(read_header(models[0]).shapes))
    except FusionError as error:
        return str(error)
    if found.heads is Heads.OWN:
        return "Each model keeps its own head over the merged encoder."
    if len(found.names) == 1:
        return f"One head predicts one number, called {found.names[0]}."
    listed = ", ".join(found.names[:10]) + (" …" if len(found.names) > 10 else "")
    return f"One head answers with {len(found.names)} labels, matched by name: {listed}."


def own_labels(expert: ProjectExpert) -> tuple[str, ...]:
    """The labels of a model as it names them itself, in the order of its head."""
    return _checkpoint(expert).label_names


def label_names(expert: ProjectExpert) -> tuple[str, ...]:
    """The labels of a model under the names that they go by in the project, in the order of its head."""
    names = dict(expert.labels)
    return tuple(names.get(label, label) for label in own_labels(expert))


def _checkpoint(expert: ProjectExpert) -> Checkpoint:
    return Checkpoint(expert.name, expert.model, expert.source or str(expert.model), expert.revision)
