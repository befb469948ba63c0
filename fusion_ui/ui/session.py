"""One visitor's mailbox: the newest state of the controls, and the work that may still run for an older one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fusion_ui.errors import FusionError
from fusion_ui.progress import Progress
from fusion_ui.ui.request import FuseRequest
from fusion_ui.workspace import CandidateScores

IDLE_SECONDS = 3600
"""A session not heard of for so long is forgotten, should the page's own farewell have been lost."""


@dataclass
class Session:
    """State of one visitor. Only small values: no tensors."""

    request: FuseRequest
    version: int = 0
    is_stopped: bool = False
    refusal: FusionError | None = None
    shown: dict[str, CandidateScores] = field(default_factory=dict)
    curve: dict[float, CandidateScores] = field(default_factory=dict)
    curve_family: str = ""
    last_used: float = field(default_factory=time.monotonic)
    _running: list[Progress] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, request: FuseRequest) -> None:
        """Put the newest state into the mailbox and stop the work on an older one."""
        with self._lock:
            self.last_used, self.is_stopped, self.refusal = time.monotonic(), False, None
            if request == self.request:
                return
            self.request, self.version = request, self.version + 1
            stopped, self._running = self._running, []
        for progress in stopped:
            progress.stop()

    def refuse(self, error: FusionError) -> None:
        """The controls say something impossible: stop, and keep the reason for whoever draws next."""
        self.stop()
        self.refusal = error

    def stop(self) -> None:
        """Stop everything that runs for this visitor, and start nothing until a control moves."""
        with self._lock:
            self.version, self.is_stopped = self.version + 1, True
            stopped, self._running = self._running, []
        for progress in stopped:
            progress.stop()

    def start(self, version: int, progress: Progress) -> Progress:
        """Register work for `version`; it is stopped at once if a newer state has arrived meanwhile."""
        with self._lock:
            self.last_used = time.monotonic()
            is_current = version == self.version
            if is_current:
                self._running = [*(p for p in self._running[-64:] if not p.is_stopped), progress]
        if not is_current:
            progress.stop()
        return progress

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

    def __init__(self, make_request: Callable[[], FuseRequest]) -> None:
        self._make_request = make_request
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def get(self, session_id: str | None) -> Session:
        """The visitor's session, new for a new visitor."""
        with self._lock:
            now = time.monotonic()
            for old in [key for key, s in self._sessions.items() if now - s.last_used > IDLE_SECONDS]:
                self._sessions.pop(old).stop()
            return self._sessions.setdefault(session_id or "", Session(self._make_request()))

    def forget(self, session_id: str | None) -> None:
        """Stop a visitor's work and drop its session."""
        with self._lock:
            session = self._sessions.pop(session_id or "", None)
        if session is not None:
            session.stop()
