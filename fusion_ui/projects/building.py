"""A person's own project, put together step by step. Every step gives a new project or an error and the old one."""

from __future__ import annotations

import csv
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd

from fusion_ui.checkpoints.base import match_base
from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.compatibility import check_mergeable, read_header
from fusion_ui.checkpoints.heads import output_parameters
from fusion_ui.checkpoints.similarity import find_strangers
from fusion_ui.domains.checks import describe_overlaps, find_duplicates
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.tagged_words import list_words
from fusion_ui.errors import DomainError, RecipeError
from fusion_ui.projects.corpus import split_sentences
from fusion_ui.projects.measures import check_measure
from fusion_ui.projects.project import Project, ProjectDomain, ProjectExpert, read_split
from fusion_ui.statistics.bundle import read_statistic
from fusion_ui.statistics.sharing import check_belongs
from fusion_ui.tasks import find_task

BASE = "base model"
"""How the base is called among the parts of a project."""
MAX_EXPERTS, MAX_DOMAINS = 8, 12
"""What the page has room for; the command line takes any number."""
MIN_SENTENCES = 30
"""Of a domain, so that each of its three parts says something."""
SHARES = {"calibrate": (0.4, 400), "select": (0.2, 400), "report": (0.4, 600)}
"""Part -> share of a file's sentences, and how many at most."""
PAIR_COLUMN = "pair"


def blank_project() -> Project:
    """A project without models and domains."""
    return Project("own", "Your own project", None, None, (), ())


def present_models(project: Project) -> list[Checkpoint]:
    """The project's models, in order."""
    return [Checkpoint(e.name, e.model, e.source or str(e.model), e.revision) for e in project.experts]


def add_expert(project: Project, name: str, checkpoint: Checkpoint) -> tuple[Project, list[str]]:
    """The project with one more model, and warnings.

    Args:
        name: what the person calls the model; empty takes a name from where it came from.

    Raises:
        IncompatibleError: it cannot be merged with the models that are there.
        RecipeError: the name is taken, or there is no room for more.
    """
    if len(project.experts) >= MAX_EXPERTS:
        raise RecipeError(f"The page has room for {MAX_EXPERTS} models. Remove one, or use the command line.")
    name = _free_name(name or checkpoint.source.rstrip("/").rsplit("/", 1)[-1], [e.name for e in project.experts])
    added = replace(checkpoint, name=name)
    present = present_models(project)
    headers = [read_header(model) for model in [*present, added]]
    check_mergeable(headers, output_parameters(headers[0].shapes))
    domain = next((d.name for d in project.domains if d.name == name), "")
    expert = ProjectExpert(name, name, added.directory, domain, added.source, added.revision, base=added.base)
    odd = find_task(added.config).check_labels(added.label_names)
    return replace(project, experts=(*project.experts, expert)), [*find_strangers([*present[:1], added]), *odd]


def use_base(project: Project, checkpoint: Checkpoint) -> Project:
    """The project with the model that its experts were fine-tuned from.

    Raises:
        IncompatibleError: it lacks the experts' weights, or has them in other shapes.
    """
    header = replace(read_header(checkpoint), name=checkpoint.source)
    for model in present_models(project)[:1]:
        match_base(header, read_header(model))
    named = f"{checkpoint.source}@{checkpoint.revision}" if checkpoint.revision else None
    return replace(project, base=checkpoint.directory, base_source=named)


def add_domain(
    project: Project, name: str, source: Domain, folder: Path, metric: str = "", threshold: float | None = None
) -> tuple[Project, list[str]]:
    """The project with one more domain, as `write_domain` and `join_domain` make it; and notes."""
    domain, notes = write_domain(project, name, source, folder, metric, threshold)
    return join_domain(project, domain), notes


def write_domain(
    project: Project, name: str, source: Domain, folder: Path, metric: str = "", threshold: float | None = None
) -> tuple[ProjectDomain, list[str]]:
    """A domain for the project, cut into calibrate, select and report and written to `folder`; and notes.

    Args:
        metric: what it is scored by; empty for the usual metric of its model's task.
        threshold: the probability above which a text is given a label; None for the usual one.

    Raises:
        ParameterError: the threshold is no probability, or no model of the project gives several labels.
        DomainError: the text has too few sentences, or no labels where the models need them, or its model's task has no
            such metric.
        RecipeError: the name is taken, or there is no room for more.
    """
    name = _name_domain(project, name or source.name)
    if not source.labels and _needs_labels(project):
        raise DomainError(
            f"The domain {name} has no labels, so nothing can be scored on it. Choose its label column; only language "
            "models are scored on text alone, and they are added first."
        )
    if any(find_task(model.config).reads_words for model in present_models(project)):
        source = list_words(source)
    check_measure(project, _owner(project, name), source, metric, threshold)
    frame, notes = _tidy(source)
    if len(frame) < MIN_SENTENCES:
        raise DomainError(
            f"The domain {name} has {len(frame)} different sentences. At least {MIN_SENTENCES} are needed, "
            "for calibration, for choosing alpha and for the report."
        )
    sizes = {split: min(int(share * len(frame)), most) for split, (share, most) in SHARES.items()}
    folder.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(dir=folder))  # never one that was there: what reads it goes by its path
    for split, rows in split_sentences(frame, sizes, seed=0).items():
        # All in quotes: pandas writes a lone carriage return without, and no reader can tell it from a row's end.
        rows.to_csv(target / f"{split}.csv", index=False, quoting=csv.QUOTE_ALL)
    files = {split: target / f"{split}.csv" for split in SHARES}
    # No model is trained on it here, so calibration text stands where a reference model would learn from.
    parts = files["calibrate"], files["calibrate"], files["select"], files["report"]
    pair, label = PAIR_COLUMN if source.pairs else None, "label" if source.labels else None
    domain = ProjectDomain(name, name, *parts, (), pair, metric or None, label, threshold)
    return domain, notes + _overlaps(project, domain)


def join_domain(project: Project, domain: ProjectDomain) -> Project:
    """The project with one more domain.

    A model of the same name, or else the first model without a domain, takes it as its own.

    Raises:
        RecipeError: the name is taken, or there is no room for more.
    """
    name = _name_domain(project, domain.name)
    owner = _owner(project, name)
    experts = tuple(replace(e, domain=name) if e is owner else e for e in project.experts)
    return replace(project, domains=(*project.domains, domain), experts=experts)


def use_statistics(project: Project, expert: str, path: Path, folder: Path) -> Project:
    """The project with an expert's statistics taken from a copy of a file, in `folder`, instead of any data.

    Raises:
        StatisticError: the file is damaged or belongs to another model.
        RecipeError: there is no such expert.
    """
    check_statistics(project, expert, path)
    return copy_statistics(project, expert, path, folder)


def check_statistics(project: Project, expert: str, path: Path) -> None:
    """Raise as `use_statistics` does."""
    found = _find_expert(project, expert)
    check_belongs(Checkpoint(found.name, found.model, found.source), read_statistic(path))


def copy_statistics(project: Project, expert: str, path: Path, folder: Path) -> Project:
    """`use_statistics` with a file that `check_statistics` has let through."""
    found = _find_expert(project, expert)
    folder.mkdir(parents=True, exist_ok=True)
    kept = Path(tempfile.mkdtemp(dir=folder)) / "statistics.safetensors"  # a file in use is never written over
    shutil.copyfile(path, kept)
    experts = tuple(replace(e, statistics=kept) if e is found else e for e in project.experts)
    return replace(project, experts=experts)


def remove(project: Project, name: str) -> Project:
    """The project without the model and the domain of that name; `BASE` takes away the base."""
    if name == BASE:
        return replace(project, base=None, base_source=None)
    experts = [e for e in project.experts if e.name != name]
    domains = tuple(d for d in project.domains if d.name != name)
    known = {d.name for d in domains}
    kept = tuple(e if e.domain in known else replace(e, domain="") for e in experts)
    return replace(project, experts=kept, domains=domains)


def _needs_labels(project: Project) -> bool:
    """True unless every model of the project is scored on text alone."""
    tasks = [find_task(model.config) for model in present_models(project)]
    return not tasks or any(task.needs_labels for task in tasks)


def _tidy(source: Domain) -> tuple[pd.DataFrame, list[str]]:
    """Each example once and none with an empty cell, and notes on the source and on what was left out."""
    parts = {"text": source.texts, "label": source.labels, PAIR_COLUMN: source.pairs}
    columns = {column: part for column, part in parts.items() if part}
    frame = pd.DataFrame(columns)
    blank = {i for i, row in enumerate(zip(*columns.values(), strict=True)) if not all(map(str.strip, row))}
    repeated = set(find_duplicates(source)) - blank
    notes = list(source.notes)
    notes += [f"{len(blank)} rows with an empty {' or '.join(columns)} were left out."] if blank else []
    notes += [f"{len(repeated)} repeated sentences were left out."] if repeated else []
    return frame.drop(index=sorted(blank | repeated)), notes


def _overlaps(project: Project, added: ProjectDomain) -> list[str]:
    """Sentences for reporting that stand in another domain's calibration text, or the other way round."""
    calibrate, report = (read_split(added, split) for split in ("calibrate", "report"))
    notes = describe_overlaps([report], [read_split(other, "calibrate") for other in project.domains])
    return notes + describe_overlaps([calibrate], [read_split(other, "report") for other in project.domains])


def _name_domain(project: Project, name: str) -> str:
    if len(project.domains) >= MAX_DOMAINS:
        raise RecipeError(f"The page has room for {MAX_DOMAINS} domains. Remove one first.")
    return _free_name(name, [d.name for d in project.domains])


def _owner(project: Project, domain: str) -> ProjectExpert | None:
    """The model that a new domain of that name becomes the own domain of."""
    free = [expert for expert in project.experts if not expert.domain]
    return next((expert for expert in free if expert.name == domain), next(iter(free), None))


def _find_expert(project: Project, name: str) -> ProjectExpert:
    found = next((e for e in project.experts if e.name == name), None)
    if found is None:
        raise RecipeError(f"There is no model {name[:80]!r} in this project. Add it first.")
    return found


def _free_name(name: str, taken: list[str]) -> str:
    name = " ".join(name.split())[:80]
    if not name:
        raise RecipeError("Give it a name.")
    if name == BASE:
        raise RecipeError(f"{BASE!r} is the name of the model that all were fine-tuned from. Choose another one.")
    if name.startswith(":"):
        raise RecipeError("A name cannot begin with a colon. Choose another one.")
    if name in taken:
        raise RecipeError(f"There is something called {name!r} already. Choose another name, or remove it first.")
    return name
