"""Whose is what: the browser that began a session, sent a file or started a call is the only one that gets at it.

A session's id travels in addresses and logs and is no secret. What tells browsers apart is a key in a cookie that no
script can read. A program that keeps no cookies has the key ``""``, which it shares with all others of its kind; what
it begins is as safe as its session's id, and out of reach of what has a key.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LOGGER = logging.getLogger("fusion_ui")
MAX_NAMES = 20_000
"""Names remembered of each kind; those of sessions that live are never forgotten."""


@dataclass
class _File:
    """An upload: whose it is, who of them takes it now or is done with it, and when it came or was asked for last."""

    keys: set[str] = field(default_factory=set)
    num_taking: Counter[str] = field(default_factory=Counter)
    released: set[str] = field(default_factory=set)
    used: float = field(default_factory=time.monotonic)


class Owners:
    """Names of sessions, calls and uploads -> the keys of whoever they belong to. Thread-safe; in memory alone.

    Args:
        live_sessions: the ids of all sessions that exist now.
        handed_out: session id -> the directory of the file that its visitor may download, if there is one.
    """

    def __init__(self, live_sessions: Callable[[], Collection[str]], handed_out: Callable[[str], Path | None]) -> None:
        self._live_sessions, self._handed_out = live_sessions, handed_out
        self._owners: dict[str, OrderedDict[str, str]] = {"session": OrderedDict(), "call": OrderedDict()}
        self._owners["upload"] = OrderedDict()
        self._files: dict[Path, _File] = {}
        self._lock = threading.Lock()

    def claim(self, kind: str, name: str, key: str) -> bool:
        """True if `name` is `key`'s: it is whoever's comes first."""
        with self._lock:
            names = self._owners[kind]
            owner = names.setdefault(name, key)
            names.move_to_end(name)
            if len(names) > MAX_NAMES:
                self._forget_oldest(names)
            return owner == key

    def owner_of(self, kind: str, name: str) -> str | None:
        """Whose it is; None for what nobody has claimed."""
        with self._lock:
            return self._owners[kind].get(name)

    def sessions_of(self, key: str) -> list[str]:
        """The sessions of one key that live."""
        live = self._live_sessions()
        with self._lock:
            return [name for name in live if self._owners["session"].get(name) == key]

    def num_live(self) -> int:
        """Sessions that exist now, of everybody."""
        return len(self._live_sessions())

    def add_file(self, path: Path, key: str) -> None:
        """A file that came from `key`. The same bytes from somebody else lie at the same path and are both's."""
        with self._lock:
            found = self._files.setdefault(path.resolve(), _File())
            found.keys.add(key)
            found.released.discard(key)
            found.used = time.monotonic()

    def has_file(self, path: Path, key: str) -> bool:
        """True if `path` is a file that this key sent, or one made for a session of it."""
        path = path.resolve()
        with self._lock:
            found = self._files.get(path)
            if found is not None and key in found.keys:
                found.used = time.monotonic()
                return True
        places = (self._handed_out(name) for name in self.sessions_of(key))
        return any(path.parent == place.resolve() for place in places if place is not None)

    def files_of(self, key: str) -> list[Path]:
        """What this key sent, as far as it was not let go of."""
        with self._lock:
            return [path for path, file in self._files.items() if key in file.keys]

    @contextmanager
    def taking(self, paths: Iterable[Path], key: str) -> Iterator[None]:
        """While inside, this key reads files; afterwards it is done with them, and they may go where room is needed."""
        named = [path.resolve() for path in paths]
        with self._lock:
            files = [file for file in map(self._files.get, named) if file is not None]
            for file in files:
                file.num_taking[key] += 1
                file.released.discard(key)
        try:
            yield
        finally:
            with self._lock:
                for file in files:
                    file.num_taking[key] -= 1
                    if not file.num_taking[key]:
                        file.released.add(key)

    def drop_released(self, key: str) -> list[Path]:
        """Remove, and name, the files that this key is done with and that are nobody else's."""
        with self._lock:
            for file in self._files.values():
                if key in file.released:
                    file.keys.discard(key)
                    file.released.discard(key)
            return self._remove([path for path, file in self._files.items() if not file.keys])

    def let_go(self, after_leaving: float, before_coming: float) -> list[Path]:
        """Remove, and name, the files whose owners have no session.

        Args:
            after_leaving: seconds that a file stays, since it was used last, once its owner's last session has ended.
            before_coming: the same for owners who have had none yet, since a program may send a file first.
        """
        live, now = set(self._live_sessions()), time.monotonic()
        with self._lock:
            sessions = self._owners["session"]
            known = set(sessions.values())
            present = {key for name, key in sessions.items() if name in live}
            left = [
                path
                for path, file in self._files.items()
                if not file.keys & present
                and now - file.used > (after_leaving if file.keys <= known else before_coming)
            ]
            return self._remove(left)

    def _remove(self, paths: list[Path]) -> list[Path]:
        """Forget files and unlink them at once, before the same comes again. Whoever calls it holds the lock."""
        for path in paths:
            del self._files[path]
            try:
                path.unlink(missing_ok=True)
                path.parent.rmdir()  # one for each content, where the same may lie under other names
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                    LOGGER.warning("an upload could not be removed: %s", error.strerror)
        return paths

    def _forget_oldest(self, names: OrderedDict[str, str]) -> None:
        live = set(self._live_sessions())
        oldest = next((name for name in names if name not in live), None)
        if oldest is not None:
            del names[oldest]
