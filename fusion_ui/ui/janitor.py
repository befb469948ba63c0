"""What goes by itself: sessions nobody uses, what was sent and never taken, and what dead servers left."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fusion_ui.sources.files import remove_leftovers
from fusion_ui.ui.owners import Owners
from fusion_ui.ui.sessions import RETURN_SECONDS, Sessions

LOGGER = logging.getLogger("fusion_ui")
ROUND_SECONDS = 20.0
TIDY_SECONDS = 600.0
"""Between two looks through the whole cache for what was left half-written."""
FIRST_SECONDS = 600.0
"""How long a file waits whose sender has asked for nothing yet."""

UPLOAD_SECONDS = 3600.0
"""An upload of which nothing came for so long has ended."""


class Janitor:
    """Makes its rounds in a thread of its own, until the process ends.

    Args:
        trim: makes room where what was fetched takes too much.
    """

    def __init__(
        self, sessions: Sessions, owners: Owners, cache: Path, trim: Callable[[], object] | None = None
    ) -> None:
        self._sessions, self._owners, self._cache, self._trim = sessions, owners, cache, trim
        self._tidied = -math.inf

    def start(self) -> None:
        """Begin. Nothing stops it: it holds nothing that must be closed."""
        threading.Thread(target=self._work, name="janitor", daemon=True).start()

    def make_round(self) -> None:
        """Remove what nobody needs any more."""
        self._sessions.end_idle()
        self._owners.let_go(RETURN_SECONDS, FIRST_SECONDS)
        self._remove_temporary()
        if time.monotonic() - self._tidied > TIDY_SECONDS:  # a child that is killed leaves what it was writing
            self._tidied = time.monotonic()
            tidy_cache(self._cache)
            if self._trim is not None:
                self._trim()

    def _remove_temporary(self) -> None:
        """gradio leaves an empty file for every file that a handler reads, and what of an upload was cut off."""
        for path in self._sessions.uploads.glob("tmp*"):
            with suppress(FileNotFoundError):  # an upload was complete and has been moved
                status = path.stat()
                if time.time() - status.st_mtime > (UPLOAD_SECONDS if status.st_size else RETURN_SECONDS):
                    path.unlink()

    def _work(self) -> None:
        pause = threading.Event()
        while not pause.wait(ROUND_SECONDS):
            try:
                self.make_round()
            except OSError as error:  # a file that cannot be removed now may be the next time
                LOGGER.warning("the janitor could not tidy up: %s", error.strerror or error)
            except Exception:  # a bug, which must not end all later rounds
                LOGGER.exception("the janitor failed")


def tidy_cache(directory: Path) -> None:
    """Remove what killed processes left half-written anywhere below `directory`; what runs is left alone."""
    for folder in [directory, *(path for path in directory.rglob("*") if path.is_dir())]:
        remove_leftovers(folder)
