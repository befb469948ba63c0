"""What became of the work that people waited for: a line each in the log, and numbers for whoever follows."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar

from fusion_ui.errors import FusionError, StoppedError

LOGGER = logging.getLogger("fusion_ui")
Outcome = Literal["done", "stopped", "refused", "failed"]
Step = TypeVar("Step")
Result = TypeVar("Result")


@dataclass(frozen=True)
class EndedJob:
    """One piece of work.

    Attributes:
        kind: what it was, of a few words in the code; never a name that a person gave.
        outcome: "stopped" by the person, a newer request or leaving; "refused" with a sentence; "failed" by a bug.
        seconds: from its start to its end, waiting for turns included, by a clock that is never set.
        session: the visitor's number in this process, which says nothing about who it is.
    """

    kind: str
    outcome: Outcome
    seconds: float
    session: int


class JobLog:
    """The jobs of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_running = 0
        self._followers: list[Callable[[EndedJob], None]] = []

    @property
    def num_running(self) -> int:
        """Jobs that have begun and not ended."""
        return self._num_running

    def follow(self, follower: Callable[[EndedJob], None]) -> None:
        """Tell `follower` of every job that ends from now on."""
        self._followers.append(follower)

    def record(self, kind: str, session: int, steps: Generator[Step, None, Result]) -> Generator[Step, None, Result]:
        """The same steps and result; how they end is logged. Closing the generator counts as stopping."""
        started, outcome = time.monotonic(), "failed"
        with self._lock:
            self._num_running += 1
        try:
            result = yield from steps
            outcome = "done"
            return result
        except (StoppedError, GeneratorExit):
            outcome = "stopped"
            raise
        except FusionError:
            outcome = "refused"
            raise
        finally:
            with self._lock:
                self._num_running -= 1
            self._tell(EndedJob(kind, outcome, time.monotonic() - started, session))

    def _tell(self, job: EndedJob) -> None:
        LOGGER.info("job", extra={"facts": asdict(job) | {"seconds": round(job.seconds, 3)}})
        for follower in self._followers:
            follower(job)
