"""What happens when a person brings models and data of their own: checked, put into their project, and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.columns import Preview, preview
from fusion_ui.domains.summary import summarise
from fusion_ui.errors import CheckpointError, RecipeError, SourceError, StatisticError
from fusion_ui.execution import Job
from fusion_ui.merging.preflight import Preflight, check_recipe, describe_needs, format_bytes
from fusion_ui.plots.domain_summary import domain_summary_figure
from fusion_ui.plots.style import Figure
from fusion_ui.progress import Progress
from fusion_ui.projects.building import BASE, add_domain, add_expert, present_models, remove, use_base, use_statistics
from fusion_ui.projects.data import Columns, DataPlace, look_at, read_data
from fusion_ui.projects.fetching import check_addition, fetch_model, receive_model
from fusion_ui.projects.labels import rename_labels
from fusion_ui.projects.measures import task_of
from fusion_ui.projects.presets import find_preset, open_preset
from fusion_ui.projects.project import Project
from fusion_ui.sources.hub import HubModel, search_models
from fusion_ui.sources.local import is_directory
from fusion_ui.tasks import find_task
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.ui.placing import take_awaited
from fusion_ui.ui.request import renew_request
from fusion_ui.ui.session import Session
from fusion_ui.ui.sessions import Sessions
from fusion_ui.workspace import Workspace


class Bringing:
    """Changes to visitors' own projects. Every change shows the project it leads to; an error changes nothing."""

    def __init__(self, workspace: Workspace, sessions: Sessions, demo: Project) -> None:
        self.workspace, self.sessions, self.demo = workspace, sessions, demo

    def choose(self, session_id: str | None, name: str) -> Project:
        """Show the demo, or the visitor's own project."""
        session = self.sessions.get(session_id)
        project = self.demo if name == self.demo.name else session.own
        session.show(project, renew_request(session.request, project))
        return project

    def check_place(self, name: str) -> None:
        """Raise where no project but the demo is shown; `name` is that of one."""

    def search(self, text: str) -> tuple[HubModel, ...]:
        """Models on the hub for what was typed so far; none for what is an exact name, a path or too short."""
        text = _clean(text)
        return () if len(text) < 3 or "/" in text or "\\" in text else search_models(text, 8)

    def add_model(
        self, session_id: str | None, model: str, files: Sequence[str], name: str, token: str, is_base: bool
    ) -> Iterator[tuple[float, str] | list[str]]:
        """Fetch, check and add a model: progress, and at the end sentences on what should be known."""
        session, settings = self.sessions.get(session_id), self.workspace.settings
        model, name = _clean(model), _clean(name)
        if files:
            self._check_room(session, files)
            work = partial(receive_model, files, name, self.sessions.folder_of(session) / "models", settings)
        else:
            own, given = session.own, _clean(token) or None
            work = partial(fetch_model, own, model, name, settings, token=given, is_base=bool(is_base))
        found: Checkpoint = yield from self._follow(session, work)
        if is_base:
            self._change(session, use_base(session.own, found))
            yield [f"{found.source} is the base of these models."]
            return
        own, warnings = add_expert(session.own, name, found)
        self._change(session, own)
        yield [f"Added {own.experts[-1].name}: {_about(found)}.", *warnings]

    def check_model(self, session_id: str | None, model: str, token: str) -> Iterator[tuple[float, str] | list[str]]:
        """Weigh a model of the hub or a folder before it is fetched: does it fit, and what will it take?"""
        session, settings = self.sessions.get(session_id), self.workspace.settings
        name = _clean(model)
        if not name:
            raise CheckpointError("Name a model on the hub first.")
        if is_directory(name) and not settings.allows_folders:
            raise CheckpointError("Folders of this machine can be named only where the page runs for you alone.")

        def work(progress: Progress) -> Preflight:
            progress.report(0.0, f"Reading what {name[:80]} is")
            return check_addition(session.own, name, settings, _clean(token) or None)

        yield _say_needs((yield from self._follow(session, work)), f"{name} can be added.")

    def weigh_preset(self, session_id: str | None, name: str) -> list[str]:
        """What a preset holds, and what it takes to open it."""
        preset, own = find_preset(name), self.sessions.get(session_id).own
        lost = ["It takes the place of your own project."] if own.experts or own.domains else []
        return [preset.about, *_say_needs(check_recipe(preset.recipe(), self.workspace.settings), ""), *lost]

    def open_preset(self, session_id: str | None, name: str, token: str) -> Iterator[tuple[float, str] | list[str]]:
        """Fetch a preset and make it the visitor's own project."""
        session, preset = self.sessions.get(session_id), find_preset(name)
        if problems := check_recipe(preset.recipe(), self.workspace.settings, _clean(token) or None).problems:
            raise CheckpointError(" ".join(problems))
        folder = self.sessions.folder_of(session) / "domains"
        work = partial(open_preset, preset, folder, self.workspace.settings, token=_clean(token) or None)
        project, notes = yield from self._follow(session, work)
        self._change(session, project, preset.name)
        yield [f"{preset.title}: opened as your own project.", *notes, *take_awaited(session)]

    def rename_labels(self, session_id: str | None, rows: Sequence[Sequence[str]]) -> list[str]:
        """Call labels as the edited table says."""
        session = self.sessions.get(session_id)
        self._change(session, rename_labels(session.own, rows))
        return ["Labels are called as the table says."]

    def _follow(self, session: Session, work: Callable[[Progress], Any]) -> Iterator[Any]:
        """Progress of some work, which ends when its follower goes or the visitor stops it; its result at the end."""
        with session.fetching(Job(work, Progress)) as job:
            return (yield from self.workspace.jobs.record("bring", session.number, job.follow()))

    def _check_room(self, session: Session, files: Sequence[str | Path]) -> None:
        """Raise `SourceError` where the visitor's files would take more than there is for one."""
        here = self.sessions.folder_of(session)
        used = sum(file.stat().st_size for file in here.rglob("*") if file.is_file())
        new, most = sum(Path(file).stat().st_size for file in files), self.workspace.settings.max_session_bytes
        if used + new > most:
            raise SourceError(
                f"This takes {format_bytes(new)}, and of the {format_bytes(most)} that one visitor may bring "
                f"{format_bytes(most - used)} are left. Remove something, or bring a smaller file."
            )

    def summarise(self, session_id: str | None, where: DataPlace, columns: Columns) -> Figure | None:
        """Class balance and lengths of an uploaded file, in tokens where there is a model; None without a file."""
        if not where.path:
            return None
        models = present_models(self.sessions.get(session_id).own)
        tokenizer = Tokenizer(models[0], self.workspace.settings.max_tokens_per_text) if models else None
        return domain_summary_figure(
            summarise(read_data(where, columns, self.workspace.settings.datasets_dir), tokenizer)
        )

    def look_at(self, where: DataPlace) -> tuple[Any, Preview]:
        """The parts of a data set on the hub, and its first rows."""
        return look_at(where)

    def preview(self, path: str | None) -> Preview | None:
        """The first rows of an uploaded file, and a guess at its columns."""
        return preview(Path(path)) if path else None

    def add_data(
        self,
        session_id: str | None,
        where: DataPlace,
        name: str,
        columns: Columns,
        metric: str = "",
        threshold: float | None = None,
    ) -> list[str]:
        """Add a domain from an uploaded file or a hub data set; sentences on what should be known."""
        session = self.sessions.get(session_id)
        self._check_room(session, [where.path] if where.path else [])
        has_empty_labels = any(task_of(expert).has_empty_labels for expert in session.own.experts)
        source = read_data(where, columns, self.workspace.settings.datasets_dir, has_empty_labels)
        folder = self.sessions.folder_of(session) / "domains"
        own, notes = add_domain(session.own, _clean(name) or source.name, source, folder, metric, threshold)
        self._change(session, own)
        added = own.domains[-1].name
        owner = next((f", the own domain of {e.name}" for e in own.experts if e.domain == added), "")
        return [f"Added {added}: {len(source.texts)} sentences{owner}.", *notes]

    def add_statistics(self, session_id: str | None, path: str | None, expert: str) -> list[str]:
        """Take an expert's statistics from an uploaded file."""
        session = self.sessions.get(session_id)
        if not path:
            raise StatisticError("Choose a statistics file first.")
        if not expert:
            raise RecipeError("Choose the model that the statistics were measured on.")
        self._check_room(session, [path])
        folder = self.sessions.folder_of(session) / "statistics"
        self._change(session, use_statistics(session.own, str(expert), Path(path), folder))
        return [f"{expert} is calibrated by its statistics file."]

    def remove(self, session_id: str | None, name: str) -> list[str]:
        """Take a model and the domain of that name out of the project."""
        session = self.sessions.get(session_id)
        if not name:
            raise RecipeError("Choose what to remove.")
        self._change(session, remove(session.own, name))
        return [f"Removed {name}."]

    def change_heads(self, session_id: str | None, heads: str) -> list[str]:
        """Say what becomes of heads whose labels differ."""
        session = self.sessions.get(session_id)
        if heads not in ("", "union", "own"):
            raise RecipeError("Heads are refused where labels differ, united, or kept apart.")
        self._change(session, replace(session.own, heads=heads or None))
        return ["Changed."]

    def contents(self, session_id: str | None) -> list[list[str]]:
        """What is in the visitor's own project, a row each."""
        own = self.sessions.get(session_id).own
        rows = [["Base", BASE, own.base.name]] if own.base else []
        for expert in own.experts:
            model = Checkpoint(expert.name, expert.model, expert.source, expert.revision)
            calibrated = "statistics file" if expert.statistics else expert.domain or "no data yet"
            rows.append(["Model", expert.name, f"{_about(model)}; {calibrated}"])
        return rows + [["Data", domain.name, "calibrate, select, report"] for domain in own.domains]

    def _change(self, session: Session, own: Project, preset: str = "") -> None:
        session.own, session.preset = own, preset
        session.show(own, renew_request(session.request, own))


def _clean(text: object) -> str:
    """What a text box holds; a box that was never shown holds nothing."""
    return text.strip() if isinstance(text, str) else ""


def _say_needs(found: Preflight, answer: str) -> list[str]:
    """What a pre-flight found, as sentences; the refusal as an error.

    Raises:
        CheckpointError: it cannot be merged here.
    """
    if found.problems:
        raise CheckpointError(" ".join(found.problems))
    return [sentence for sentence in (answer, describe_needs(found), *found.warnings) if sentence]


def _about(model: Checkpoint) -> str:
    more = " …" if len(model.label_names) > 5 else ""
    labels = f"labels {', '.join(model.label_names[:5])}{more}" if model.label_names else "writes text"
    size = sum(file.stat().st_size for file in model.tensors.files)
    at = f" at {model.revision[:8]}" if model.revision else ""
    return f"{model.architecture}, {find_task(model.config).title}, {format_bytes(size)}, {labels}{at}"
