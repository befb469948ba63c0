"""One visitor's mailbox: the newest state of the controls, and the work that may still run for an older one."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from fusion_ui.errors import FusionError, StoppedError
from fusion_ui.execution import Job
from fusion_ui.progress import Progress
from fusion_ui.projects.building import blank_project
from fusion_ui.projects.project import Project
from fusion_ui.ui.curve_choice import CurveChoice
from fusion_ui.ui.line import Place
from fusion_ui.ui.request import FuseRequest
from fusion_ui.ui.steps import Steps
from fusion_ui.workspace import CandidateScores

_NUMBERS = count(1)
ENDING_SECONDS = 3.0
"""For work that was stopped to end, with the child process that it may have started."""
Stoppable = TypeVar("Stoppable", Job[Any], Place)


@dataclass
class Session:
    """State of one visitor. Only small values: no tensors.

    Attributes:
        project: what the page shows.
        own: the visitor's own project, shown or not.
        version: counts the states that were posted, from the clock on: a page that outlives its session, as when the
            server starts again, still sees the numbers grow.
        drawn_version: the last one whose numbers were all drawn.
        shown: candidate's name -> its newest numbers on report.
        curve, curve_family: on select, value -> numbers, and what that curve is of.
        curve_choice: the parameter that the curve goes over, while its method is compared.
        curve_levels: on select, name -> complete numbers of what the curve is compared with.
        looks: what tabs that look closer at the project show, by the tab's name.
        folder: where the visitor's files lie; made when the first comes, removed soon after the visitor leaves.
        key: of the browser that the session belongs to (`ui.owners`); None where nobody has claimed it.
        visitor: the id that the visitor's browser keeps; empty before it was heard of.
        preset: name of the preset that `own` is, as long as it is that.
        awaited: a preset and the settings that it is to have once the visitor has opened it.
        changed: when the controls changed last, in seconds since 1970.
        remembered: name of a candidate -> key of it in the visitor's history.
        handed_out: directory of the file that the visitor may download, removed likewise.
        unfinished: long work that runs, or ran when the page was left -> what it was asked with.
        has_left: true once the page was left.
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
    looks: dict[str, Any] = field(default_factory=dict)
    curve_choice: CurveChoice = field(default_factory=CurveChoice)
    curve_levels: dict[str, CandidateScores] = field(default_factory=dict)
    key: str | None = None
    visitor: str = ""
    preset: str = ""
    awaited: tuple[str, dict[str, Any]] | None = None
    changed: float = 0.0
    steps: Steps = field(default_factory=Steps)
    remembered: dict[str, str] = field(default_factory=dict)
    unfinished: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    has_left: bool = False
    last_used: float = field(default_factory=time.monotonic)
    _last_sent: float = 0.0
    _working: list[Progress] = field(default_factory=list)
    _filling: Progress = field(default_factory=Progress)
    _jobs: dict[str, Job] = field(default_factory=dict)
    _fetches: list[tuple[str, Job[Any] | Place]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def number(self) -> int:
        """Which session this is in the log, and nothing of whose."""
        return next(_NUMBERS)

    def snapshot(self) -> Session:
        """The session as it is now: other threads replace what it holds at any time, and a drawing is of one moment."""
        with self._lock:
            return copy.copy(self)

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
            # By the browser's clock: states of one drag may arrive in fits and starts.
            self.steps = self.steps.record(self.request, sent / 1000 if isinstance(sent, int | float) else time.time())
            self._take(request)

    def step(self, is_back: bool) -> bool:
        """Undo or redo a step; False where there is none. Undoing what was refused is a step by itself."""
        with self._lock:
            found = (self.steps.undo if is_back else self.steps.redo)(self.request)
            if is_back and self.refusal is not None:
                found = self.steps, self.request
            if found is None:
                return False
            self.is_stopped, self.refusal = False, None
            self.steps, request = found
            self._take(request)
            return True

    def _take(self, request: FuseRequest) -> None:
        self.request, self.version, self.changed = request, self.version + 1, time.time()
        for progress in self._working:
            progress.stop()

    def show(self, project: Project, request: FuseRequest) -> None:
        """Change to a project, or to another state of it. What is being fetched goes on."""
        with self._lock:
            self._halt()
            self.project, self.request, self.version = project, request, self.version + 1
            self.shown, self.curve, self.curve_family, self.curve_levels = {}, {}, "", {}
            self.looks = {}
            self.steps, self.changed = Steps(), time.time()
            self.is_stopped, self.refusal = False, None

    def inherit(self, left: Session) -> None:
        """Go on where a session of the same visitor was left."""
        self.own, self.folder, self.preset, self.awaited = left.own, left.folder, left.preset, left.awaited
        self.handed_out = left.handed_out
        self.unfinished, left.unfinished = left.unfinished, {}
        self.show(left.project, left.request)
        self.steps, self.changed = left.steps, left.changed

    def _is_newest(self, sent: object) -> bool:
        if not isinstance(sent, int | float):  # another program, which sends one request after the other
            return True
        is_newest = sent >= self._last_sent
        self._last_sent = max(sent, self._last_sent)
        return is_newest

    def refuse(self, error: FusionError, sent: float | None = None) -> None:
        """The controls say something impossible: stop, and keep the reason for whoever draws next."""
        with self._lock:
            if self._is_newest(sent):  # and nothing newer comes in between
                self._halt()
                self.refusal = error

    def stop(self) -> None:
        """Stop everything that runs for this visitor, and start nothing until a control moves."""
        with self._lock:
            self._halt()
            for _, job in self._fetches:
                job.stop()

    def stop_fetches(self, label: str) -> None:
        """Stop the work of that label alone; merging, the curve and all other work go on."""
        with self._lock:
            for name, job in self._fetches:
                if name == label:
                    job.stop()

    def _halt(self) -> None:
        """Stop merging and evaluating. Whoever calls it holds the lock."""
        self.version, self.is_stopped = self.version + 1, True
        for work in [*self._working, *self._jobs.values()]:
            work.stop()

    @contextmanager
    def fetching(self, job: Stoppable, label: str = "") -> Iterator[Stoppable]:
        """While inside, `job` is stopped by `stop`, or `stop_fetches` with its label, not by a control that moves; at
        once if the page has gone.

        Whoever comes out finds it at its end, or as near to it as may be waited for.
        """
        with self._lock:
            self._fetches.append((label, job))
            if self.has_left:
                job.stop()
        try:
            yield job
        finally:
            job.stop()
            if isinstance(job, Job):  # else the directory that it writes to would be removed under it
                job.wait(ENDING_SECONDS)
            with self._lock:
                self._fetches.remove((label, job))

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

    @contextmanager
    def filling(self, version: int, progress: Progress) -> Iterator[Progress]:
        """`working` for the curve, of which only the newest filling goes on."""
        with self._lock:
            self._filling.stop()
            self._filling = progress
        with self.working(version, progress):
            yield progress

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
    def person(self) -> str:
        """Whoever this is, as far as it is known: pages of one browser are one person's.

        What a browser says of itself counts only where it has no key, which it cannot choose.
        """
        if self.key is not None:
            return f"key {self.key}"
        return self.visitor or f"page {id(self)}"

    @property
    def is_busy(self) -> bool:
        """True while something is computed for this visitor."""
        return bool(self._working or self._fetches) or any(job.is_running for job in self._jobs.values())

    def when_idle(self, act: Callable[[], None]) -> None:
        """Do something once nothing is computed for this visitor: now, or from a thread that waits for it."""

        def wait() -> None:
            while self.is_busy:
                time.sleep(0.1)
            act()

        if self.is_busy:
            threading.Thread(target=wait, daemon=True).start()
        else:
            act()

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
        with self._lock:
            if family != self.curve_family:
                self.curve, self.curve_family = {}, family
