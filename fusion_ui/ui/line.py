"""Where people wait when more of them want something than this machine does at once: first come, and nobody twice.

gradio has a queue of its own, which knows no people and says nothing on this page; it lets everybody through to here.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fusion_ui.errors import BusyError
from fusion_ui.progress import Progress

T = TypeVar("T")
POLL_SECONDS = 1.0
"""Between two looks at a place in the line; one that gets free is seen at once."""
MEMORY = 0.3
"""Weight of the newest job in the estimate of how long one takes."""


class Line:
    """Visitors' jobs, of which some go on and the others wait. Thread-safe.

    Args:
        at_once: jobs that go on.
        per_visitor: jobs that one visitor may have, going on or waiting.
        most_waiting: jobs that may wait.
    """

    def __init__(self, at_once: int, per_visitor: int, most_waiting: int) -> None:
        self._at_once, self._per_visitor, self._most_waiting = at_once, per_visitor, most_waiting
        self._waiting: list[Place] = []
        self._going_on: list[Place] = []
        self._usual_seconds: float | None = None
        self._changed = threading.Condition()

    @contextmanager
    def join(self, visitor: str) -> Iterator[Place]:
        """A place in the line until the block ends; to be waited for with `Place.wait`.

        Raises:
            BusyError: the line is too long, or this visitor stands in it too often.
        """
        place = Place(self, visitor)
        with self._changed:
            own = sum(other.visitor == visitor for other in [*self._waiting, *self._going_on])
            if own >= self._per_visitor:
                raise BusyError(
                    f"You have {own} things running or waiting here, and that is the most. Stop one, or wait for it."
                )
            if len(self._waiting) >= self._most_waiting:
                raise BusyError(
                    f"{len(self._waiting)} people wait for this machine already{self._about(len(self._waiting))}. "
                    "Try again later."
                )
            self._waiting.append(place)
        try:
            yield place
        finally:
            self._leave(place)

    def enter(self, place: Place) -> bool:
        """True once it is this place's turn; waits a moment for that."""
        with self._changed:
            if place not in self._waiting:
                return True
            if not self._is_next(place):
                self._changed.wait(POLL_SECONDS)
            if not self._is_next(place):
                return False
            self._waiting.remove(place)
            self._going_on.append(place)
            place.began = time.monotonic()
            return True

    def describe(self, place: Place) -> str:
        """How many people come before this place, and about how long they take."""
        with self._changed:
            before = self._in_order()
            before = before[: before.index(place)] if place in before else []
            people = len({other.visitor for other in before})
            said = {0: "You are next", 1: "1 person before you"}.get(people, f"{people} people before you")
            return said + self._about(len(before) + 1)

    def _about(self, num_jobs: int) -> str:
        if self._usual_seconds is None:
            return ""
        return f", about {max(1, math.ceil(self._usual_seconds * num_jobs / self._at_once))} s"

    def _is_next(self, place: Place) -> bool:
        free = self._at_once - len(self._going_on)
        return place in self._in_order()[:free]

    def _in_order(self) -> list[Place]:
        """Who has least going on comes first, of those who has waited longest."""
        num_own = {place.visitor: 0 for place in self._waiting}
        for place in self._going_on:
            num_own[place.visitor] = num_own.get(place.visitor, 0) + 1
        return sorted(self._waiting, key=lambda place: num_own[place.visitor])  # stable

    def _leave(self, place: Place) -> None:
        with self._changed:
            if place in self._waiting:
                self._waiting.remove(place)
            else:
                self._going_on.remove(place)
                seconds = time.monotonic() - place.began
                usual = seconds if self._usual_seconds is None else self._usual_seconds
                self._usual_seconds = (1 - MEMORY) * usual + MEMORY * seconds
            self._changed.notify_all()


def in_time(steps: Iterator[T], seconds: float) -> Generator[T, None, Any]:
    """The steps, and what they return.

    Raises:
        BusyError: they go on for longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        if time.monotonic() > deadline:
            raise BusyError(f"This took more than {seconds:g} s, the most here, and was stopped. Ask for less.")
        yield step


class Place:
    """One job's place in the line."""

    def __init__(self, line: Line, visitor: str) -> None:
        self._line, self.visitor, self.began, self.progress = line, visitor, 0.0, Progress()

    def wait(self) -> Iterator[str]:
        """Sentences on where this place is, until it is its turn.

        Raises:
            StoppedError: `stop` was called meanwhile.
        """
        while not self._line.enter(self):
            yield self._line.describe(self)
            self.progress.check()

    def stop(self) -> None:
        """Wait no longer."""
        self.progress.stop()
