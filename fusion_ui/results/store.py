"""The histories of all visitors on disk: a file each, named by a digest of the visitor's id, to which lines are added.

A line is one event and one write, so a process that is killed leaves whole lines and at most one torn end, which
reading passes over. What the server itself knows of a visitor it keeps in memory, whatever happens to the disk.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from fusion_ui.results.history import MAX_AGE, Event, History
from fusion_ui.sources.files import replace_file, trim_directory

LOGGER = logging.getLogger("fusion_ui")
MAX_FILE_BYTES = 4 << 20
"""A longer file is written anew with what it amounts to."""
MAX_IN_MEMORY = 64
WRITES_BETWEEN_TRIMS = 200
SUFFIX = ".jsonl"

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


class HistoryStore:
    """Visitor id -> history. Thread-safe.

    Args:
        max_bytes: of all files together; those used longest ago go first.
        clock: seconds since 1970.
    """

    def __init__(self, directory: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._directory, self._max_bytes, self.clock = directory, max_bytes, clock
        self._known: OrderedDict[str, History] = OrderedDict()
        self._num_writes = 0
        self._lock = threading.Lock()

    def read(self, visitor: str) -> History:
        """What one visitor did; nothing for one who is new."""
        with self._lock:
            return self._read(_digest(visitor))

    def read_all(self) -> list[History]:
        """The histories of all visitors, for whoever may read these files anyway."""
        with self._lock:
            return [self._read(path.name.removesuffix(SUFFIX)) for path in sorted(self._directory.glob(f"*{SUFFIX}"))]

    def append(self, visitor: str, events: Sequence[Event]) -> History:
        """Add to one visitor's history. A disk that is full or cannot be written is logged, and memory holds it."""
        name = _digest(visitor)
        with self._lock:
            history = self._known[name] = self._read(name).apply(events)
            try:
                if events:
                    self._write(name, events, history)
            except OSError as error:
                LOGGER.warning("a history could not be kept on disk: %s", error.strerror or error)
        return history

    def _read(self, name: str) -> History:
        found = self._known.get(name)
        if found is None:
            path = self._path(name)
            found = History().apply(_read_events(path) if path.is_file() else ())
        self._known[name] = found = found.forget_before(self.clock() - MAX_AGE)
        self._known.move_to_end(name)
        while len(self._known) > MAX_IN_MEMORY:
            self._known.popitem(last=False)
        return found

    def _write(self, name: str, events: Sequence[Event], history: History) -> None:
        path = self._path(name)
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        size = path.stat().st_size if path.is_file() else 0
        # A file that was trimmed away while its visitor is here begins with all that is known.
        lines = _encode(events if size else history.as_events())
        if size + len(lines) > MAX_FILE_BYTES:
            with replace_file(path) as temporary:
                temporary.write_bytes(_encode(history.as_events()))
        else:
            _append(path, lines, is_new=not size)
        if self._num_writes % WRITES_BETWEEN_TRIMS == 0:
            self._trim()
        self._num_writes += 1

    def _trim(self) -> None:
        for path in self._directory.glob(f"*{SUFFIX}"):
            with suppress(FileNotFoundError):  # another process trims too
                if path.stat().st_mtime < self.clock() - MAX_AGE:
                    path.unlink()
        trim_directory(self._directory, self._max_bytes, f"*{SUFFIX}")

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{SUFFIX}"


def _digest(visitor: str) -> str:
    """A file's name, from which nobody who reads the directory learns the id."""
    return hashlib.sha256(f"fusion-ui visitor {visitor}".encode()).hexdigest()[:40]


def _encode(events: Sequence[Event]) -> bytes:
    return b"".join(json.dumps(asdict(event), separators=(",", ":")).encode() + b"\n" for event in events)


def _append(path: Path, lines: bytes, is_new: bool) -> None:
    """Add lines in one write, after whatever a killed process left torn."""
    with path.open("ab+", buffering=0) as file:
        if not is_new:
            file.seek(-1, os.SEEK_END)
            lines = lines if file.read(1) == b"\n" else b"\n" + lines
        if file.write(lines) != len(lines):
            raise OSError("the disk is full")


def _read_events(path: Path) -> list[Event]:
    events, num_damaged = [], 0
    for line in path.read_bytes().splitlines():
        try:
            events.append(_EVENT.validate_json(line))
        except ValidationError:
            num_damaged += bool(line)
    if num_damaged:
        LOGGER.warning("%d lines of the history %s are damaged and were passed over", num_damaged, path.name)
    return events
