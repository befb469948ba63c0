"""How long work tells where it is, how it is stopped, and how it takes turns with other work.

Everything that takes more than a second accepts a ``Progress``. It reports a fraction and a sentence, raises
``StoppedError`` at the next report once ``stop`` was asked for, and does each heavy step inside a ``turn``. So work
stops and gives way between steps, never inside one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from fusion_ui.errors import StoppedError

ProgressCallback = Callable[[float, str], None]
TurnTaker = Callable[["Progress"], AbstractContextManager[None]]


class Progress:
    """A fraction in [0, 1] with a sentence, the wish to stop, and the right to compute.

    Thread-safe: one thread works and reports, another may call `stop` at any time.

    Args:
        callback: told the fraction and the sentence.
        take_turn: gives the right to compute for one step; without it there is nobody to wait for.
    """

    def __init__(self, callback: ProgressCallback | None = None, take_turn: TurnTaker | None = None) -> None:
        self._callback, self._take_turn = callback, take_turn
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask the work to end at its next step."""
        self._stop.set()

    @property
    def is_stopped(self) -> bool:
        """True once `stop` was called."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise `StoppedError` if the work should end."""
        if self._stop.is_set():
            raise StoppedError("Stopped.")

    def pause(self, seconds: float) -> None:
        """Wait so long, or until a stop is asked for, which ends the work."""
        self._stop.wait(seconds)
        self.check()

    def turn(self) -> AbstractContextManager[None]:
        """Hold this around one heavy step of at most about a second; ends the work if a stop was asked for."""
        self.check()
        return self._take_turn(self) if self._take_turn else nullcontext()

    def report(self, fraction: float, message: str) -> None:
        """Say how far the work is; ends it by `StoppedError` if a stop was asked for."""
        self.check()
        if self._callback is not None:
            self._callback(min(max(fraction, 0.0), 1.0), message)

    def part(self, start: float, end: float, prefix: str = "", take_turn: TurnTaker | None = None) -> Progress:
        """A `Progress` for a sub-task that fills the range [start, end] of this one."""

        def report(fraction: float, message: str) -> None:
            self.report(start + fraction * (end - start), prefix + message)

        child = Progress(report, take_turn or self._take_turn)
        child._stop = self._stop
        return child
