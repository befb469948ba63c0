"""Files and data sets of visitors are read, of strangers by child processes: so many at once, and of one person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from fusion_ui.progress import Progress
from fusion_ui.projects.confined import Reading, read_confined
from fusion_ui.settings import Settings
from fusion_ui.ui.line import Line
from fusion_ui.ui.session import Session

MAX_LOOK_SECONDS, MAX_LOOK_BYTES, LOOK_FILE_BYTES = 60.0, 2 << 30, 1 << 16
"""For what is looked at before it is taken: how long, in how much memory, and what of any file it may write."""
MAX_TAKE_SECONDS = 600.0
"""For what is taken from a file or a data set of the hub."""

Follow = Callable[[Callable[[Progress], Any]], Iterator[Any]]
"""From some work to its progress, and what it came to."""


class Readers:
    """The line that children stand in, and their limits. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._line = Line(settings.max_jobs, settings.max_long_jobs, settings.max_waiting)

    def read(self, session: Session, reading: Reading[Any], follow: Follow, room: int | None) -> Iterator[Any]:
        """What a reading finds; progress before.

        Args:
            room: bytes that it may write; None for what is looked at before it is taken.

        Raises:
            BusyError: this visitor has too many of them, or too many people wait.
        """
        settings, is_look = self._settings, room is None
        if settings.allows_folders:
            return (yield from follow(lambda _: reading.read()))
        seconds = min(settings.max_job_seconds, MAX_LOOK_SECONDS if is_look else MAX_TAKE_SECONDS)
        memory = min(settings.max_worker_bytes, MAX_LOOK_BYTES) if is_look else settings.max_worker_bytes
        with self._line.join(session.person) as place:
            with session.fetching(place):
                for sentence in place.wait():
                    yield 0.0, sentence
            file_bytes = LOOK_FILE_BYTES if room is None else room
            return (yield from follow(partial(read_confined, reading, seconds, memory, file_bytes)))
