"""What strangers bring is computed with in a process of its own first: it may die, grow or hang without harm to others.

Everything else runs in the server's own process, where a dragged slider is answered within a second from what is
already in memory. A stranger's models and texts come there only after a *rehearsal*: a child process has tokenised the
same texts, measured, merged and answered with the same models, within limits of time and memory. It leaves its
statistics and answers in the caches on disk, so nothing is computed twice. Another value of a method's parameters costs
no more than the one that was rehearsed; other experts, data, methods or references are rehearsed again. Where the page
is for the person at this machine alone, and for the demo, there is nothing to rehearse.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from fusion_ui.child import ChildLimits, answer_parent, follow_child
from fusion_ui.errors import MergeError, first_line
from fusion_ui.progress import Progress
from fusion_ui.projects.project import Project
from fusion_ui.settings import Settings
from fusion_ui.sources.upload import shown
from fusion_ui.ui.curve_choice import CurveChoice
from fusion_ui.ui.request import FuseRequest

MAX_KNOWN = 500
"""Rehearsals remembered."""
_TASK = TypeAdapter(tuple[Project, FuseRequest, Settings])
"""What a child is told, as JSON."""
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
        limits = ChildLimits(self._settings.max_job_seconds, self._settings.max_worker_bytes, has_one_thread=False)
        task = _TASK.dump_python((project, request, self._settings), mode="json")
        first = "Starting a process of its own for your models"
        ending = yield from follow_child(__spec__.name, task, limits, progress, first)
        if ending.failure is not None:
            raise MergeError(_sentence(ending.failure))
        if ending.error is not None:
            raise MergeError(str(ending.error))
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


def _work(task: Any, progress: Progress) -> None:
    rehearse(*_TASK.validate_python(task), progress)


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


if __name__ == "__main__":
    answer_parent(_work)
