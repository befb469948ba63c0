"""Who may compute when: what a person waits for goes before what is computed ahead of being asked.

torch uses every core for one step, and two steps at once slow each other down many times over. So steps take turns.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fusion_ui.progress import Progress, ProgressCallback

Result = TypeVar("Result")


class Turns:
    """One step computes at a time. Idle work waits, between its steps, while anybody waits for something."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_urgent = 0
        self._computing = threading.RLock()

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """Somebody waits for what is done inside this block."""
        with self._changed:
            self._num_urgent += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_urgent -= 1
                self._changed.notify_all()

    def urgent_progress(self, callback: ProgressCallback | None = None) -> Progress:
        """For work that somebody waits for."""
        return Progress(callback, self._take)

    def idle_progress(self, callback: ProgressCallback | None = None) -> Progress:
        """For work ahead of being asked."""
        return Progress(callback, self._take_when_idle)

    def promote(self, progress: Progress) -> Progress:
        """The same work, whose steps from now on do not wait for urgent work."""
        return progress.part(0.0, 1.0, take_turn=self._take)

    @contextmanager
    def _take(self, progress: Progress) -> Iterator[None]:
        with self._computing:
            yield

    @contextmanager
    def _take_when_idle(self, progress: Progress) -> Iterator[None]:
        with self._changed:
            while self._num_urgent and not progress.is_stopped:
                self._changed.wait(0.1)
        progress.check()
        with self._computing:
            yield


def follow(
    work: Callable[[Progress], Result], make_progress: Callable[[ProgressCallback], Progress], every: float = 0.1
) -> Generator[tuple[float, str], None, Result]:
    """Run `work` in a thread and yield its latest fraction and sentence at most every `every` seconds.

    Closing the generator stops the work at its next step. Its result is the generator's return value; its exception
    is raised here.
    """
    reports: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()
    progress = make_progress(lambda fraction, message: reports.put((fraction, message)))
    outcome: list[Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work(progress))
        except BaseException as error:  # raised again in the thread that follows
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(every)
            latest = None
            while not reports.empty():
                latest = reports.get()
            if latest is not None:
                yield latest
    finally:
        if thread.is_alive():
            progress.stop()
    if failure:
        raise failure[0]
    return outcome[0]
