"""Who may compute when, and what was computed last: what a person waits for goes before what nobody asked for yet.

torch uses every core for one step, and two steps at once slow each other down many times over. So steps take turns.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from fusion_ui.progress import Progress, ProgressCallback

Result = TypeVar("Result")
Value = TypeVar("Value")


class Turns:
    """One step computes at a time. Idle work waits, between its steps, while anybody waits for something."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_urgent = 0
        self._computing = _FairLock()

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
        with self._computing.hold():
            yield

    @contextmanager
    def _take_when_idle(self, progress: Progress) -> Iterator[None]:
        with self._changed:
            while self._num_urgent and not progress.is_stopped:
                self._changed.wait(0.1)
        progress.check()
        with self._computing.hold():
            yield


class _FairLock:
    """A lock that goes to whoever waits longest, so that of two people neither waits for all of the other's work.

    The thread that holds it may take it again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._owner: int | None = None

    @contextmanager
    def hold(self) -> Iterator[None]:
        me, ticket = threading.get_ident(), object()
        if self._owner == me:
            yield
            return
        with self._changed:
            self._waiting.append(ticket)
            while self._owner is not None or self._waiting[0] is not ticket:
                self._changed.wait()
            self._waiting.popleft()
            self._owner = me
        try:
            yield
        finally:
            with self._changed:
                self._owner = None
                self._changed.notify_all()


class Job(Generic[Result]):
    """Work in a thread of its own. It goes on until it ends or is stopped, whether or not anybody follows it.

    Args:
        work: the work; it reports to the progress it is given.
        make_progress: makes that progress around a callback.
    """

    def __init__(
        self, work: Callable[[Progress], Result], make_progress: Callable[[ProgressCallback], Progress]
    ) -> None:
        self.latest: tuple[float, str] | None = None
        self.progress = make_progress(self._report)
        self._outcome: list[Result] = []
        self._failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """True until the work has ended, by itself or because it was stopped."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Ask the work to end at its next step."""
        self.progress.stop()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the work has ended, or so long."""
        self._thread.join(seconds)

    def follow(self, every: float = 0.1) -> Generator[tuple[float, str], None, Result]:
        """Yield the latest fraction and sentence at most every `every` seconds, until the work has ended.

        Its result is the generator's return value; its exception is raised here. No longer following lets it go on.
        """
        shown = None
        while self._thread.is_alive():
            self._thread.join(every)
            if self.latest is not None and self.latest is not shown:
                shown = self.latest
                yield shown
        if self._failure:
            raise self._failure[0]
        return self._outcome[0]

    def _report(self, fraction: float, message: str) -> None:
        self.latest = (fraction, message)

    def _run(self, work: Callable[[Progress], Result]) -> None:
        try:
            self._outcome.append(work(self.progress))
        except BaseException as error:  # raised again in whoever follows
            self._failure.append(error)


class Recent(Generic[Value]):
    """The values asked for last. Threads that want the same new value wait for one of them to make it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        # A lock lasts as long as somebody holds it or waits for it.
        self._making: WeakValueDictionary[Hashable, threading.Lock] = WeakValueDictionary()
        self._lock = threading.Lock()

    def peek(self, key: Hashable) -> Value | None:
        """The value, if it is there."""
        with self._lock:
            return self._values.get(key)

    def get_or_make(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value, made now unless it is there."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]
            value = make()
            with self._lock:
                self._values[key] = value
                while len(self._values) > self._size:
                    self._values.popitem(last=False)
            return value
