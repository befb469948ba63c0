"""What strangers bring is computed with in a process of its own first: it may die, grow or hang without harm to others.

Everything else runs in the server's own process, where a dragged slider is answered within a second from what is
already in memory. A stranger's models and texts come there only after a *rehearsal*: a child process has tokenised the
same texts, measured, merged and answered with the same models, within limits of time and memory. It leaves its
statistics and answers in the caches on disk, so nothing is computed twice. Another value of a method's parameters costs
no more than the one that was rehearsed; other experts, data, methods or references are rehearsed again. Where the page
is for the person at this machine alone, and for the demo, there is nothing to rehearse.

    python -m fusion_ui.ui.rehearsing SECONDS MEMORY_BYTES      reads a line of JSON from its parent, writes others

The child ends with its parent: it reads the pipe that the parent holds open, which the system closes whatever happens.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter

from fusion_ui.errors import FusionError, MergeError
from fusion_ui.progress import Progress
from fusion_ui.projects.project import Project
from fusion_ui.settings import Settings
from fusion_ui.sources.fetch import first_line
from fusion_ui.sources.upload import shown
from fusion_ui.ui.curve_choice import CurveChoice
from fusion_ui.ui.request import FuseRequest

MAX_KNOWN = 500
"""Rehearsals remembered."""
_TASK = TypeAdapter(tuple[Project, FuseRequest, Settings])
"""What a child is told, as one line of JSON."""
Rehearsed = tuple[Any, ...]
"""A project, and what of the controls decides how much is computed with it."""


class Rehearsals:
    """Which projects were computed with in a child process, and the children that do it now. Thread-safe."""

    def __init__(self, settings: Settings, demo: Project) -> None:
        self._settings, self._demo = settings, demo
        self._done: OrderedDict[Rehearsed, None] = OrderedDict()
        self._lock = threading.Lock()

    def is_due(self, project: Project, request: FuseRequest) -> bool:
        """True if this is the first time that a stranger's models are computed with so."""
        with self._lock:
            is_strange = not self._settings.allows_folders and project != self._demo
            return is_strange and _key(project, request) not in self._done

    def hold(self, project: Project, request: FuseRequest, progress: Progress) -> Iterator[tuple[float, str]]:
        """Rehearse, where that is due; yields how far it is.

        Raises:
            MergeError: the child died, took too much time or memory, or said what is wrong.
            StoppedError: `progress` was stopped; the child is killed then.
        """
        if not self.is_due(project, request):
            return
        child = _Child(project, request, self._settings)
        end = time.monotonic() + self._settings.max_job_seconds
        try:
            while child.is_running:
                progress.check()
                if time.monotonic() > end:
                    raise MergeError(_sentence(f"took more than {self._settings.max_job_seconds:g} s"))
                yield child.latest
                child.wait(0.1)
        finally:
            child.end()
        if (problem := child.problem(self._settings)) is not None:
            raise MergeError(problem)
        self._remember(_key(project, request))

    def hold_search(
        self, project: Project, request: FuseRequest, choice: CurveChoice, progress: Progress
    ) -> Iterator[tuple[float, str]]:
        """Rehearse the search for the best value of a parameter, where that is due; yields how far it is.

        Nothing here: other values of what was rehearsed cost no more.
        """
        yield from ()

    def _remember(self, rehearsed: Rehearsed) -> None:
        with self._lock:
            self._done[rehearsed] = None
            while len(self._done) > MAX_KNOWN:
                self._done.popitem(last=False)


class _Child:
    """One child process, seen from the server."""

    def __init__(self, project: Project, request: FuseRequest, settings: Settings) -> None:
        limits = [str(settings.max_job_seconds), str(settings.max_worker_bytes)]
        # -P keeps the current directory off the import path, where a file named torch.py would be run.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", __spec__.name, *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        self.latest, self._said = (0.0, "Starting a process of its own for your models"), dict[str, Any]()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        with suppress(BrokenPipeError):  # it has died already, which its code says
            self._pipe.write(_TASK.dump_json((project, request, settings)) + b"\n")
            self._pipe.flush()

    @property
    def _pipe(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def wait(self, seconds: float) -> None:
        self._reader.join(seconds)

    def end(self) -> None:
        """Kill it if it still runs, and let nothing of it stay."""
        if self.is_running:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        with suppress(BrokenPipeError):
            self._pipe.close()

    def problem(self, settings: Settings) -> str | None:
        """Why it did not come to its end, as a sentence; None if it did."""
        if "problem" in self._said:
            return self._said["problem"]
        if self.process.returncode == -signal.SIGXCPU:
            return _sentence(f"took more than {settings.max_job_seconds:g} s")
        return _sentence(f"died, or took more than {settings.max_worker_bytes >> 20} MiB of memory")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with suppress(ValueError, TypeError, KeyError):  # cut off by its end
                said = json.loads(line)
                if "message" in said:
                    self.latest = float(said["fraction"]), str(said["message"])
                self._said |= said
        self.process.stdout.close()


def _key(project: Project, request: FuseRequest) -> Rehearsed:
    methods = frozenset([*request.methods, *(pin.method for pin in request.pins)])
    switches = [(m, n, v) for m, values in request.parameters for n, v in values if isinstance(v, bool)]
    data = (request.experts, request.calibration, request.num_examples, request.references)
    return project, *data, methods, tuple(switches)


def _sentence(what: str) -> str:
    return (
        f"The process that computed with your models {what}. Nothing of yours is lost, and everybody else goes on. "
        "Try smaller models or fewer sentences."
    )


def describe_end(error: BaseException) -> str:
    """A sentence about an error in a child process that was not foreseen."""
    return _sentence(f"ended with {type(error).__name__}: {shown(first_line(error)).rstrip('.')}")


def _environment() -> dict[str, str]:
    """The child's environment: where Python and this package are, and nobody's secrets."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "HF_HOME", "HF_HUB_CACHE")
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_DISABLE_TELEMETRY"), "1")
    package_home = str(Path(__file__).resolve().parents[2])
    return {k: v for k, v in os.environ.items() if k in kept} | offline | {"PYTHONPATH": package_home}


def main(seconds: str, memory_bytes: str) -> None:
    """The child's side: limit this process, rehearse, and write what happens as lines of JSON."""
    with suppress(ImportError):  # Windows has no such limits; there the parent's clock alone holds
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (int(memory_bytes), int(memory_bytes)))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever else is printed is no answer

    def say(**said: Any) -> None:
        os.write(answer, json.dumps(said).encode() + b"\n")

    project, request, settings = _TASK.validate_json(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        tell = Progress(lambda fraction, message: say(fraction=fraction, message=message))
        rehearse(project, request, settings, tell)
        say(problem=None)
    except FusionError as error:
        say(problem=str(error))
    except MemoryError:
        say(problem=_sentence(f"took more than {int(memory_bytes) >> 20} MiB of memory"))
    except BaseException as error:  # a panic in a tokenizer's Rust code is no Exception
        say(problem=describe_end(error))
    os._exit(0)


def rehearse(project: Project, request: FuseRequest, settings: Settings, progress: Progress) -> None:
    """Do once all that the page does with a project; what it comes to lies in the caches afterwards."""
    from fusion_ui.ui.comparison import compare, project_evaluation
    from fusion_ui.workspace import Workspace

    workspace = Workspace(settings)
    project_evaluation(workspace, project, "select")
    evaluation = project_evaluation(workspace, project, "report")
    comparison = compare(workspace, project, request, evaluation)
    for plan in comparison.unmeasured(workspace).values():
        workspace.measure(plan, progress)
    for row in workspace.evaluate(comparison.candidates, evaluation, comparison.in_domain, progress):
        progress.report(0.9, f"answering with {shown(row.candidate.title)}")


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
