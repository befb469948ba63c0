"""One visitor's mailbox: the newest state of the controls, and the work that may still run for an older one."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from fusion_ui.errors import FusionError, StoppedError
from fusion_ui.execution import Job
from fusion_ui.progress import Progress
from fusion_ui.projects.building import blank_project
from fusion_ui.projects.project import Project
from fusion_ui.ui.request import FuseRequest
from fusion_ui.workspace import CandidateScores

IDLE_SECONDS = 3600
"""A session not heard of for so long is forgotten, should the page's own farewell have been lost."""


@dataclass
class Session:
    """State of one visitor. Only small values: no tensors.

    Attributes:
        project: what the page shows.
        own: the visitor's own project, shown or not.
        version: counts the states that were posted, from the clock on: a page that outlives its session, as when the
            server starts again, still sees the numbers grow.
        drawn_version: the last one whose numbers were all drawn.
        folder: where the visitor's files lie; made when the first comes, removed when the visitor leaves.
        handed_out: directory of the file that the visitor may download, removed likewise.
    """

    project: Project
    request: FuseRequest
    own: Project = field(default_factory=blank_project)
    folder: Path | None = None
    handed_out: Path | None = None
    version: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    drawn_version: int = -1
    is_stopped: bool = False
    refusal: FusionError | None = None
    shown: dict[str, CandidateScores] = field(default_factory=dict)
    curve: dict[float, CandidateScores] = field(default_factory=dict)
    curve_family: str = ""
    last_used: float = field(default_factory=time.monotonic)
    _last_sent: float = 0.0
    _working: list[Progress] = field(default_factory=list)
    _jobs: dict[str, Job] = field(default_factory=dict)
    _fetches: list[Job] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, request: FuseRequest, sent: float | None = None) -> None:
        """Put the newest state into the mailbox and stop the work on an older one; jobs go on.

        Args:
            sent: when the browser sent it, by its clock. A state that was overtaken on its way is dropped.
        """
        with self._lock:
            if not self._is_newest(sent):
                return
            self.last_used, self.is_stopped, self.refusal = time.monotonic(), False, None
            if request == self.request:
                return
            self.request, self.version = request, self.version + 1
            for progress in self._working:
                progress.stop()

    def show(self, project: Project, request: FuseRequest) -> None:
        """Change to a project, or to another state of it. What is being fetched goes on."""
        self._halt()
        with self._lock:
            self.project, self.request, self.version = project, request, self.version + 1
            self.shown, self.curve, self.curve_family = {}, {}, ""
            self.is_stopped, self.refusal = False, None

    def _is_newest(self, sent: float | None) -> bool:
        if sent is None:  # another program, which sends one request after the other
            return True
        is_newest = sent >= self._last_sent
        self._last_sent = max(sent, self._last_sent)
        return is_newest

    def refuse(self, error: FusionError, sent: float | None = None) -> None:
        """The controls say something impossible: stop, and keep the reason for whoever draws next."""
        with self._lock:
            if not self._is_newest(sent):
                return
        self._halt()
        self.refusal = error

    def stop(self) -> None:
        """Stop everything that runs for this visitor, and start nothing until a control moves."""
        self._halt()
        with self._lock:
            for job in self._fetches:
                job.stop()

    def _halt(self) -> None:
        """Stop merging and evaluating."""
        with self._lock:
            self.version, self.is_stopped = self.version + 1, True
            for work in [*self._working, *self._jobs.values()]:
                work.stop()

    @contextmanager
    def fetching(self, job: Job) -> Iterator[Job]:
        """While inside, `job` is stopped by `stop` alone, not by a control that moves."""
        with self._lock:
            self._fetches.append(job)
        try:
            yield job
        finally:
            job.stop()
            with self._lock:
                self._fetches.remove(job)

    def check(self, version: int) -> None:
        """Raise `StoppedError` if a newer state than `version` has arrived."""
        if version != self.version:
            raise StoppedError("A newer state of the controls has arrived.")

    @contextmanager
    def working(self, version: int, progress: Progress) -> Iterator[Progress]:
        """While inside, `progress` belongs to `version` and is stopped when a newer state arrives, or has arrived."""
        with self._lock:
            self.last_used = time.monotonic()
            self._working.append(progress)
            if version != self.version:
                progress.stop()
        try:
            yield progress
        finally:
            with self._lock:
                self._working.remove(progress)

    def job(self, version: int, key: str, start: Callable[[], Job]) -> Job:
        """The running job of that key, or a new one. It outlives `version`: a later state may need it too.

        Raises:
            StoppedError: a newer state than `version` has arrived.
        """
        with self._lock:
            self.check(version)
            if key not in self._jobs or not self._jobs[key].is_running or self._jobs[key].progress.is_stopped:
                self._jobs[key] = start()
            return self._jobs[key]

    @property
    def is_busy(self) -> bool:
        """True while something is computed for this visitor."""
        return bool(self._working or self._fetches) or any(job.is_running for job in self._jobs.values())

    def keep_jobs(self, version: int, keys: Collection[str]) -> None:
        """Stop the jobs that `version`, the newest state, does not need.

        Raises:
            StoppedError: a newer state than `version` has arrived.
        """
        with self._lock:
            self.check(version)
            for key in [key for key in self._jobs if key not in keys]:
                self._jobs.pop(key).stop()

    def add_to_curve(self, family: str, value: float, row: CandidateScores) -> None:
        """Add a point, unless the curve has meanwhile become that of other experts or other data."""
        with self._lock:
            if family == self.curve_family:
                self.curve = {**self.curve, value: row}

    def use_curve(self, family: str) -> None:
        """Start an empty curve if the old one belongs to other experts or other data."""
        if family != self.curve_family:
            self.curve, self.curve_family = {}, family


class Sessions:
    """Session id -> `Session`. Thread-safe; forgets a visitor whose tab was closed."""

    def __init__(self, make_session: Callable[[], Session], directory: Path) -> None:
        self._make_session, self._directory = make_session, directory / str(os.getpid())
        sweep(directory)
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def get(self, session_id: str | None) -> Session:
        """The visitor's session, new for a new visitor."""
        with self._lock:
            now = time.monotonic()
            old = [key for key, s in self._sessions.items() if now - s.last_used > IDLE_SECONDS and not s.is_busy]
            ended = [self._sessions.pop(key) for key in old if key != session_id]
            session = self._sessions.setdefault(session_id or "", self._make_session())
            session.last_used = now
        for gone in ended:
            threading.Thread(target=_end, args=(gone,), daemon=True).start()  # removing files may take a while
        return session

    def folder_of(self, session: Session) -> Path:
        """The visitor's own directory, whose name nobody can guess."""
        if session.folder is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            session.folder = Path(tempfile.mkdtemp(dir=self._directory))
        return session.folder

    def forget(self, session_id: str | None) -> None:
        """Stop a visitor's work and drop its session."""
        with self._lock:
            session = self._sessions.pop(session_id or "", None)
        if session is not None:
            _end(session)


def sweep(directory: Path) -> None:
    """Remove what servers left behind that are gone, of directories that are each named by its process."""
    for folder in directory.glob("*"):
        if not folder.name.isdigit() or not psutil.pid_exists(int(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)


def _end(session: Session) -> None:
    session.stop()
    for folder in filter(None, (session.folder, session.handed_out)):
        shutil.rmtree(folder, ignore_errors=True)
