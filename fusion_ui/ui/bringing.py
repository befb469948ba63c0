"""What happens when a person brings models and data of their own: checked, put into their project, and shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.columns import Preview
from fusion_ui.errors import CheckpointError, RecipeError, SourceError, StatisticError
from fusion_ui.execution import Job
from fusion_ui.merging.preflight import Preflight, check_recipe, describe_needs, format_bytes
from fusion_ui.plots.domain_summary import domain_summary_figure
from fusion_ui.plots.style import Figure
from fusion_ui.progress import Progress
from fusion_ui.projects.building import BASE, add_expert, copy_statistics, join_domain, remove, use_base
from fusion_ui.projects.confined import (
    DomainWriting,
    FileLook,
    HubFinding,
    HubLook,
    Reading,
    StatisticsCheck,
    Summary,
    WrittenDomain,
)
from fusion_ui.projects.data import Columns, DataPlace
from fusion_ui.projects.fetching import check_addition, fetch_model, receive_model
from fusion_ui.projects.labels import rename_labels
from fusion_ui.projects.presets import find_preset, open_preset
from fusion_ui.projects.project import Project
from fusion_ui.sources.hub import HubModel, search_models
from fusion_ui.sources.local import is_directory
from fusion_ui.tasks import find_task
from fusion_ui.ui.line import Line, in_time
from fusion_ui.ui.placing import take_awaited
from fusion_ui.ui.quota import keep_private, new_place, remove_unused
from fusion_ui.ui.readers import Readers
from fusion_ui.ui.request import renew_request
from fusion_ui.ui.session import Session
from fusion_ui.ui.sessions import Sessions
from fusion_ui.workspace import Workspace

WRITTEN_FOR_READ = 16
"""How much larger than a file the texts in it may be: Parquet and .gz are packed."""


class Bringing:
    """Changes to visitors' own projects. Every change shows the project it leads to; an error changes nothing."""

    def __init__(self, workspace: Workspace, sessions: Sessions, demo: Project) -> None:
        self.workspace, self.sessions, self.demo = workspace, sessions, demo
        self._readers, limits = Readers(workspace.settings), workspace.settings
        self._line = Line(limits.max_jobs, limits.max_jobs_per_visitor, limits.max_waiting)

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
        model, name, is_base = _clean(model), _clean(name), bool(is_base)
        with ExitStack() as stack:
            if files:
                stack.enter_context(self.sessions.quota.taking(session_id, files))
                # Files get a second name there, which takes no room; a zip is unpacked to nobody knows how much.
                zips = [file for file in files if file.lower().endswith(".zip")]
                room = stack.enter_context(self._reserve(session_id, zips, math.inf if zips else 0))
                place = stack.enter_context(new_place(self.sessions.folder_of(session), "models"))
                room += sum(Path(file).stat().st_size for file in files if not file.lower().endswith(".zip"))
                work = partial(receive_model, files, name, place, settings, room=room)
            else:
                own, given, place = session.own, _clean(token) or None, None
                if not settings.allows_folders:  # a folded adapter is its visitor's, and goes with them
                    stack.enter_context(self._reserve(session_id, [], math.inf))
                    place = stack.enter_context(new_place(self.sessions.folder_of(session), "models"))
                work = partial(fetch_model, own, model, name, settings, token=given, is_base=is_base, folder=place)
            found: Checkpoint = yield from self._take(session, work)
            own, warnings = (use_base(session.own, found), []) if is_base else add_expert(session.own, name, found)
        self._change(session, own)
        if is_base:
            yield [f"{found.source} is the base of these models."]
        else:
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

        yield _say_needs((yield from self._take(session, work)), f"{name} can be added.")

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
        project, notes = yield from self._take(session, work)
        self._change(session, project, preset.name)
        yield [f"{preset.title}: opened as your own project.", *notes, *take_awaited(session)]

    def rename_labels(self, session_id: str | None, rows: Sequence[Sequence[str]]) -> list[str]:
        """Call labels as the edited table says."""
        session = self.sessions.get(session_id)
        self._change(session, rename_labels(session.own, rows))
        return ["Labels are called as the table says."]

    def _take(self, session: Session, work: Callable[[Progress], Any]) -> Iterator[Any]:
        """`_follow` for models, when it is this visitor's turn, and for as long as anything may take here.

        Raises:
            BusyError: too many wait, or it took longer.
        """
        if not self.workspace.settings.allows_folders:
            work = partial(keep_private, partial(self.sessions.folder_of, session), work)
        with self._line.join(session.person) as place:
            with session.fetching(place):
                for sentence in place.wait():
                    yield 0.0, sentence
            return (yield from in_time(self._follow(session, work), self.workspace.settings.max_job_seconds))

    def _follow(self, session: Session, work: Callable[[Progress], Any]) -> Iterator[Any]:
        """Progress of some work, which ends when its follower goes or the visitor stops it; its result at the end."""
        with session.fetching(Job(work, Progress)) as job:
            return (yield from self.workspace.jobs.record("bring", session.number, job.follow()))

    @contextmanager
    def _reserve(self, session_id: str | None, files: Sequence[str | Path], times: float) -> Iterator[int]:
        """Bytes that files may take in the visitor's folder, held for them while inside.

        Args:
            times: how much more than the files themselves may come of them.

        Raises:
            SourceError: less is left than they are themselves.
        """
        quota, most = self.sessions.quota, self.workspace.settings.max_session_bytes
        new = sum(Path(file).stat().st_size for file in files)
        at_most = math.inf if math.isinf(times) else times * new
        with quota.reserve(quota.key_of(session_id), new, most, at_most) as room:
            if new > room:
                raise SourceError(
                    f"This takes {format_bytes(new)}, and of the {format_bytes(most)} that one visitor may bring "
                    f"{format_bytes(max(room, 0))} are left. Remove something, wait until what you add is there, or "
                    "bring a smaller file."
                )
            yield max(0, int(min(room, max(new, at_most))))

    def _read(self, session: Session, reading: Reading[Any], room: int | None = None) -> Iterator[Any]:
        return self._readers.read(session, reading, partial(self._follow, session), room)

    def summarise(
        self, session_id: str | None, where: DataPlace, columns: Columns
    ) -> Iterator[tuple[float, str] | Figure]:
        """Class balance and lengths of an uploaded file, in tokens where there is a model; nothing without a file."""
        if not where.path:
            return
        session, most = self.sessions.get(session_id), self.workspace.settings.max_tokens_per_text
        yield domain_summary_figure((yield from self._read(session, Summary(session.own, where, columns, most))))

    def look_at(self, session_id: str | None, where: DataPlace) -> Iterator[tuple[float, str] | HubFinding]:
        """The parts of a data set on the hub, and its first rows."""
        yield (yield from self._read(self.sessions.get(session_id), HubLook(where)))

    def preview(self, session_id: str | None, path: str | None) -> Iterator[tuple[float, str] | Preview]:
        """The first rows of an uploaded file, and a guess at its columns; nothing without a file."""
        if path:
            yield (yield from self._read(self.sessions.get(session_id), FileLook(Path(path))))

    def add_data(
        self,
        session_id: str | None,
        where: DataPlace,
        name: str,
        columns: Columns,
        metric: str = "",
        threshold: float | None = None,
    ) -> Iterator[tuple[float, str] | list[str]]:
        """Add a domain from an uploaded file or a hub data set; sentences on what should be known."""
        session, settings = self.sessions.get(session_id), self.workspace.settings
        files = [where.path] if where.path else []
        with (
            self.sessions.quota.taking(session_id, files),
            new_place(self.sessions.folder_of(session), "domains") as place,
            self._reserve(session_id, files, WRITTEN_FOR_READ if files else math.inf) as room,
        ):
            cache = place if where.token and not settings.allows_folders else settings.datasets_dir
            reading = DomainWriting(session.own, where, _clean(name), columns, place, cache, metric, threshold)
            found: WrittenDomain = yield from self._read(session, reading, room)
            own = join_domain(session.own, found.domain)
        self._change(session, own)
        owner = next((f", the own domain of {e.name}" for e in own.experts if e.domain == found.domain.name), "")
        yield [f"Added {found.domain.name}: {found.num_sentences} sentences{owner}.", *found.notes]

    def add_statistics(
        self, session_id: str | None, path: str | None, expert: str
    ) -> Iterator[tuple[float, str] | list[str]]:
        """Take an expert's statistics from an uploaded file."""
        session = self.sessions.get(session_id)
        if not path:
            raise StatisticError("Choose a statistics file first.")
        if not expert:
            raise RecipeError("Choose the model that the statistics were measured on.")
        with self.sessions.quota.taking(session_id, [path]), self._reserve(session_id, [path], 1) as room:
            yield from self._read(session, StatisticsCheck(session.own, str(expert), Path(path)), room)
            own = copy_statistics(session.own, str(expert), Path(path), self.sessions.folder_of(session) / "statistics")
        self._change(session, own)
        yield [f"{expert} is calibrated by its statistics file."]

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
        before, session.own, session.preset = session.own, own, preset
        session.show(own, renew_request(session.request, own))
        if session.folder is not None:
            session.when_idle(partial(remove_unused, session.folder, before, own))  # what goes on may still read it


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
