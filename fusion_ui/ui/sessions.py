"""The sessions of all visitors, and the folders that their files lie in."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fusion_ui.errors import StoppedError
from fusion_ui.sources.files import is_process_running, process_name
from fusion_ui.ui.owners import Owners
from fusion_ui.ui.quota import Quota
from fusion_ui.ui.session import Session

IDLE_SECONDS = 3600
"""A session not heard of for so long is forgotten, should the page's own farewell have been lost."""
RETURN_SECONDS = 60
"""How long a session that was left waits for its page to be loaded again."""
MAX_LEFT = 20_000
"""Ids of pages that have gone which are remembered, the newest."""


class _Parted(NamedTuple):
    """A session whose page has gone, and what ends it unless somebody takes it back."""

    session: Session
    farewell: threading.Timer


class Sessions:
    """Session id -> `Session`. Thread-safe; forgets a visitor whose tab was closed."""

    def __init__(self, make_session: Callable[[], Session], directory: Path) -> None:
        self._make_session, self._directory = make_session, directory / process_name()
        sweep(directory)
        self._sessions: dict[str, Session] = {}
        self._parted: dict[str, _Parted] = {}
        self._left: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self.owners = Owners(self.ids, self.handed_out)
        self.quota = Quota(self.owners, self.find_folders)

    def get(self, session_id: str | None) -> Session:
        """The visitor's session, new for a new visitor.

        Who does not say which it is gets one for this call alone. So does a call that was made, and had to wait, before
        its page was left: it works for nobody, and must not keep the visitor's files.
        """
        if not session_id:
            return self._make_session()
        key = self.owners.owner_of("session", session_id)
        with self._lock:
            if session_id in self._left:
                return self._parted[session_id].session if session_id in self._parted else self._make_left()
            session = self._sessions.setdefault(session_id, self._make_session())
            session.last_used, session.key = time.monotonic(), key
        return session

    def welcome(self, session_id: str) -> None:
        """A page asks for something. One that was thought to have left had lost its connection, and goes on."""
        with self._lock:
            if session_id not in self._left:
                return
            del self._left[session_id]
            if (parted := self._parted.pop(session_id, None)) is not None:
                parted.farewell.cancel()
                parted.session.has_left = False
                self._sessions[session_id] = parted.session

    def _make_left(self) -> Session:
        session = self._make_session()
        session.has_left = True
        session.stop()
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

    def find_folders(self, session_id: str) -> list[Path]:
        """The visitor's own directories: of what was brought, and of what may be downloaded."""
        with self._lock:
            session = self._sessions.get(session_id)
        return [folder for folder in (session.folder, session.handed_out) if folder] if session else []

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
        """The visitor's own directory, whose name nobody can guess.

        Raises:
            StoppedError: the page has gone, and nobody would remove it.
        """
        with self._lock:
            if session.folder is None:
                if not any(session is other for other in self._sessions.values()):
                    raise StoppedError("The page that asked for this has been closed. Load it again.")
                self._directory.mkdir(parents=True, exist_ok=True)
                session.folder = Path(tempfile.mkdtemp(dir=self._directory))
            return session.folder

    def forget(self, session_id: str | None) -> None:
        """Stop a visitor's work and drop its session. Files stay a moment: a page that is loaded again wants them."""
        if not session_id:
            return
        with self._lock:
            self._left[session_id] = None
            if len(self._left) > MAX_LEFT:
                self._left.popitem(last=False)
            session = self._sessions.pop(session_id, None)
            if session is None:
                return
            session.has_left = True
            if session.visitor:
                farewell = threading.Timer(RETURN_SECONDS, self._let_go, (session_id, session))
                farewell.daemon = True
                self._parted[session_id] = _Parted(session, farewell)
                farewell.start()
        session.stop()
        if not session.visitor:
            _end(session)

    def take_back(self, visitor: str) -> Session | None:
        """The session that this visitor left last, a moment ago; whoever takes it owns its files."""
        with self._lock:
            found = next((key for key, left in reversed(self._parted.items()) if left.session.visitor == visitor), None)
            if found is None:
                return None
            parted = self._parted.pop(found)
        parted.farewell.cancel()
        return parted.session

    def take_unfinished(self, visitor: str) -> dict[str, tuple[Any, ...]]:
        """What ran on the page that this visitor left last, a moment ago."""
        with self._lock:
            left = next((p.session for p in reversed(self._parted.values()) if p.session.visitor == visitor), None)
            if left is None:
                return {}
            found, left.unfinished = left.unfinished, {}
            return found

    def _let_go(self, session_id: str, session: Session) -> None:
        with self._lock:
            parted = self._parted.get(session_id)
            if parted is None or parted.session is not session:
                return
            del self._parted[session_id]
        _end(session)

    def all(self) -> list[Session]:
        """Every session there is, also those that were left a moment ago."""
        with self._lock:
            return [*self._sessions.values(), *(parted.session for parted in self._parted.values())]

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
