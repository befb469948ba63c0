"""The sessions of all visitors, and the folders that their files lie in."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fusion_ui.sources.files import is_process_running, process_name
from fusion_ui.ui.owners import Owners
from fusion_ui.ui.quota import Quota
from fusion_ui.ui.session import Session

IDLE_SECONDS = 3600
"""A session not heard of for so long is forgotten, should the page's own farewell have been lost."""
RETURN_SECONDS = 60
"""How long a session that was left waits for its page to be loaded again."""


class Sessions:
    """Session id -> `Session`. Thread-safe; forgets a visitor whose tab was closed."""

    def __init__(self, make_session: Callable[[], Session], directory: Path) -> None:
        self._make_session, self._directory = make_session, directory / process_name()
        sweep(directory)
        self._sessions: dict[str, Session] = {}
        self._parted: dict[int, Session] = {}
        self._lock = threading.Lock()
        self.owners = Owners(self.ids, self.handed_out)
        self.quota = Quota(self.owners, self.find_folder)

    def get(self, session_id: str | None) -> Session:
        """The visitor's session, new for a new visitor. Who does not say which it is gets one for this call alone."""
        if not session_id:
            return self._make_session()
        with self._lock:
            session = self._sessions.setdefault(session_id, self._make_session())
            session.last_used = time.monotonic()
        return session

    def ids(self) -> list[str]:
        """Of all sessions that exist now."""
        with self._lock:
            return [*self._sessions]

    def handed_out(self, session_id: str) -> Path | None:
        """Where the file lies that the visitor of this session may download."""
        with self._lock:
            session = self._sessions.get(session_id)
        return session.handed_out if session else None

    def find_folder(self, session_id: str) -> Path | None:
        """The visitor's own directory, if anything was brought."""
        with self._lock:
            session = self._sessions.get(session_id)
        return session.folder if session else None

    @property
    def uploads(self) -> Path:
        """Where what visitors send lies until it is taken into their own directories."""
        return self._directory / "uploads"

    def end_idle(self) -> None:
        """Forget whoever was not heard of for long."""
        with self._lock:
            end = time.monotonic() - IDLE_SECONDS
            old = [key for key, s in self._sessions.items() if s.last_used < end and not s.is_busy]
            ended = [self._sessions.pop(key) for key in old]
        for session in ended:
            _end(session)

    def folder_of(self, session: Session) -> Path:
        """The visitor's own directory, whose name nobody can guess."""
        if session.folder is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            session.folder = Path(tempfile.mkdtemp(dir=self._directory))
        return session.folder

    def forget(self, session_id: str | None) -> None:
        """Stop a visitor's work and drop its session. Files stay a moment: a page that is loaded again wants them."""
        with self._lock:
            session = self._sessions.pop(session_id or "", None)
        if session is None:
            return
        session.has_left = True
        session.stop()
        if not session.visitor:
            _end(session)
            return
        with self._lock:
            self._parted[id(session)] = session
        farewell = threading.Timer(RETURN_SECONDS, self._let_go, (session,))
        farewell.daemon = True
        farewell.start()

    def take_back(self, visitor: str) -> Session | None:
        """The session that this visitor left last, a moment ago; whoever takes it owns its files."""
        with self._lock:
            found = next((key for key, s in reversed(self._parted.items()) if s.visitor == visitor), None)
            return None if found is None else self._parted.pop(found)

    def take_unfinished(self, visitor: str) -> dict[str, tuple[Any, ...]]:
        """What ran on the page that this visitor left last, a moment ago."""
        with self._lock:
            left = next((s for s in reversed(self._parted.values()) if s.visitor == visitor), None)
            if left is None:
                return {}
            found, left.unfinished = left.unfinished, {}
            return found

    def _let_go(self, session: Session) -> None:
        with self._lock:
            is_left = self._parted.pop(id(session), None) is not None
        if is_left:
            _end(session)

    def all(self) -> list[Session]:
        """Every session there is, also those that were left a moment ago."""
        with self._lock:
            return [*self._sessions.values(), *self._parted.values()]

    def of_visitor(self, visitor: str) -> list[Session]:
        """The sessions of all tabs that this visitor has open."""
        with self._lock:
            return [session for session in self._sessions.values() if session.visitor == visitor]


def sweep(directory: Path) -> None:
    """Remove what servers left behind that are gone, of directories that are each named by its process."""
    for folder in directory.glob("*"):
        if not is_process_running(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _end(session: Session) -> None:
    session.stop()
    for folder in filter(None, (session.folder, session.handed_out)):
        shutil.rmtree(folder, ignore_errors=True)
