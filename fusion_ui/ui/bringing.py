"""What happens when a person brings models and data of their own: checked, put into their project, and shown."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.finding import find_checkpoint
from fusion_ui.checkpoints.limits import check_untrusted
from fusion_ui.checkpoints.trial import try_in_child
from fusion_ui.domains.columns import Preview, preview
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.hub import load_hub_domain
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import CheckpointError, DomainError, FusionError, RecipeError, StatisticError
from fusion_ui.execution import Job
from fusion_ui.merging.preflight import format_bytes
from fusion_ui.progress import Progress
from fusion_ui.projects.building import add_domain, add_expert, remove, use_statistics
from fusion_ui.projects.project import Project
from fusion_ui.sources.hub import HubModel, search_models
from fusion_ui.sources.local import is_directory
from fusion_ui.sources.upload import receive_upload
from fusion_ui.ui.request import default_request
from fusion_ui.ui.session import Session, Sessions
from fusion_ui.workspace import Workspace

MAX_STREAMED = 3_000
"""Sentences taken from a hub data set."""


class Bringing:
    """Changes to visitors' own projects. Every change shows the project it leads to; an error changes nothing."""

    def __init__(self, workspace: Workspace, sessions: Sessions, demo: Project) -> None:
        self.workspace, self.sessions, self.demo = workspace, sessions, demo

    def choose(self, session_id: str | None, name: str) -> Project:
        """Show the demo, or the visitor's own project."""
        session = self.sessions.get(session_id)
        project = self.demo if name == self.demo.name else session.own
        session.show(project, default_request(project))
        return project

    def search(self, text: str) -> tuple[HubModel, ...]:
        """Models on the hub for what was typed so far; none for what is an exact name, a path or too short."""
        text = _clean(text)
        return () if len(text) < 3 or "/" in text or "\\" in text else search_models(text, 8)

    def add_model(
        self, session_id: str | None, model: str, files: Sequence[str], name: str, token: str
    ) -> Iterator[tuple[float, str] | list[str]]:
        """Fetch, check and add a model: progress, and at the end sentences on what should be known."""
        session = self.sessions.get(session_id)
        job = Job(
            partial(self._find_model, session, _clean(model), files or (), _clean(name), _clean(token) or None),
            Progress,
        )
        try:
            found: Checkpoint = yield from job.follow()
        finally:
            job.stop()
        own, warnings = add_expert(session.own, _clean(name), found)
        self._change(session, own)
        yield [f"Added {own.experts[-1].name}: {_about(found)}.", *warnings]

    def preview(self, path: str | None) -> Preview | None:
        """The first rows of an uploaded file, and a guess at its columns."""
        return preview(Path(path)) if path else None

    def add_data(
        self, session_id: str | None, path: str | None, dataset: str, name: str, text_column: str, label_column: str
    ) -> list[str]:
        """Add a domain from an uploaded file or a hub data set; sentences on what should be known."""
        session = self.sessions.get(session_id)
        source = self._read_data(path, _clean(dataset), _clean(text_column) or "text", _clean(label_column) or "label")
        own, notes = add_domain(
            session.own, _clean(name) or source.name, source, self.sessions.folder_of(session) / "domains"
        )
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
        self._change(session, Project(**{**vars(session.own), "heads": heads or None}))
        return ["Changed."]

    def contents(self, session_id: str | None) -> list[list[str]]:
        """What is in the visitor's own project, a row each."""
        own = self.sessions.get(session_id).own
        rows = []
        for expert in own.experts:
            model = Checkpoint(expert.name, expert.model, expert.source, expert.revision)
            calibrated = "statistics file" if expert.statistics else expert.domain or "no data yet"
            rows.append(["Model", expert.name, f"{_about(model)}; {calibrated}"])
        return rows + [["Data", domain.name, "calibrate, select, report"] for domain in own.domains]

    def _change(self, session: Session, own: Project) -> None:
        session.own = own
        session.show(own, default_request(own))

    def _find_model(
        self, session: Session, model: str, files: Sequence[str], name: str, token: str | None, progress: Progress
    ) -> Checkpoint:
        settings = self.workspace.settings
        if files:
            models = self.sessions.folder_of(session) / "models"
            models.mkdir(exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=models)) / ((_clean(name) and "model") or Path(files[0]).stem[:60])
            try:
                receive_upload([Path(file) for file in files], folder, progress=progress)
                check_untrusted(folder, name=name or "uploaded")
                return self._try(find_checkpoint(
                    name or Path(files[0]).stem, str(folder), settings, progress=progress, trusts_paths=False
                ), progress)  # fmt: skip
            except FusionError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        if not model:
            raise CheckpointError("Name a model on the hub, or choose its files.")
        if is_directory(model) and not settings.allows_folders:
            raise CheckpointError("Folders of this machine can be named only where the page runs for you alone.")
        is_local = is_directory(model)
        found = find_checkpoint(name or model, model, settings, token=token, progress=progress, trusts_paths=is_local)
        return self._try(found, progress)

    def _try(self, found: Checkpoint, progress: Progress) -> Checkpoint:
        """Load what may be hostile in a child process first, with limits of time and memory."""
        progress.report(0.9, f"Trying {found.name} in a process of its own")
        try_in_child(found.directory, name=found.name, progress=progress)
        return found

    def _read_data(self, path: str | None, dataset: str, text_column: str, label_column: str) -> Domain:
        if path:
            return load_domain(Path(path), Path(path).stem, text_column, label_column)
        if not dataset:
            raise DomainError("Choose a data file, or name a data set on the hub.")
        repository, config, split = [*dataset.split(":"), "", ""][:3]
        return load_hub_domain(
            repository,
            repository.rsplit("/", 1)[-1],
            config=config or None,
            split=split or None,
            text_column=text_column,
            label_column=label_column,
            num_examples=MAX_STREAMED,
        )


def _clean(text: object) -> str:
    """What a text box holds; a box that was never shown holds nothing."""
    return text.strip() if isinstance(text, str) else ""


def _about(model: Checkpoint) -> str:
    labels = ", ".join(model.label_names[:5]) + (" …" if len(model.label_names) > 5 else "")
    size = sum(file.stat().st_size for file in model.tensors.files)
    at = f" at {model.revision[:8]}" if model.revision else ""
    return f"{model.architecture}, {format_bytes(size)}, labels {labels}{at}"
