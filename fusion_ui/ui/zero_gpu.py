"""On a ZeroGPU Space the models compute in a child process, to which the platform lends a GPU for one call.

`compute` is what is called there. Where ``SPACES_ZERO_GPU`` is set, ``spaces.GPU`` stands around it: it forks this
process, sends the arguments over and what is yielded back. In the server nothing touches CUDA; torch says there that
it has a GPU, which is not so. What the child computed lies in the caches on disk, under keys that say so, and is found
there. What a stranger brought is computed with in such a child instead of one of `rehearsing`, where the platform's
limit of time holds, but none of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial

import gradio as gr

from fusion_ui.devices import take_gpu
from fusion_ui.errors import BusyError, FusionError, MergeError
from fusion_ui.evaluation.candidates import Evaluation
from fusion_ui.execution import Job
from fusion_ui.progress import Progress
from fusion_ui.projects.project import Project
from fusion_ui.settings import Settings, is_zero_gpu
from fusion_ui.tasks import load_model
from fusion_ui.ui.comparison import Comparison, checkpoints_of, compare, project_evaluation
from fusion_ui.ui.curve import family_of
from fusion_ui.ui.curve_choice import CurveChoice
from fusion_ui.ui.rehearsing import Rehearsals, Rehearsed, describe_end, rehearse
from fusion_ui.ui.request import FuseRequest
from fusion_ui.workspace import Workspace

EVERY_SECONDS = 0.2
"""Between two signs of life of the child, at each of which it can be stopped."""
SETTLE_SECONDS = 0.3
"""How long a state of the controls must stand before a GPU is asked for."""
START_SECONDS, SECONDS_PER_GIGABYTE, MAX_SECONDS = 20, 60, 120
"""What is asked of the platform: to begin with, for each gigabyte of weights, and at most."""

Said = tuple[float, str] | str
"""How far the child is; or, at last, what is wrong."""
Compute = Callable[[Project, FuseRequest, CurveChoice | None, Settings], Generator[Said]]


def estimate_seconds(project: Project, request: FuseRequest, choice: CurveChoice | None, settings: Settings) -> int:
    """For how long a GPU is asked for. What was done until the platform ends it lies in the caches."""
    files = (file for expert in project.experts for file in expert.model.glob("*.safetensors"))
    gigabytes = sum(file.stat().st_size for file in files) / 1e9
    seconds = START_SECONDS + SECONDS_PER_GIGABYTE * gigabytes
    return min(MAX_SECONDS, round(seconds if choice is None else 2 * seconds))


def _compute(project: Project, request: FuseRequest, choice: CurveChoice | None, settings: Settings) -> Generator[Said]:
    """Do once all that the page does with a state of the controls; its numbers lie in the caches afterwards.

    Args:
        choice: search for the best value of this parameter instead.

    Yields:
        How far it is, every `EVERY_SECONDS`; at last a sentence where something is wrong. Errors are not raised: no
        more than their class's name would reach the parent.
    """
    take_gpu()
    # In a new thread: the pool of OpenMP threads of the one that was forked stayed behind in the parent.
    work = rehearse if choice is None else partial(_search, choice)
    job = Job(partial(work, project, request, settings), Progress)
    try:
        while job.is_running:
            yield job.latest or (0.0, "Starting on the GPU")
            job.wait(EVERY_SECONDS)
    finally:
        job.stop()
        job.wait()
    if (problem := _find_problem(job)) is not None:
        yield problem


def _search(
    choice: CurveChoice, project: Project, request: FuseRequest, settings: Settings, progress: Progress
) -> None:
    workspace = Workspace(settings)
    select, report = (project_evaluation(workspace, project, s, request.metric) for s in ("select", "report"))
    plan = workspace.plan(request.recipe(project, choice.method))
    in_domain = tuple(expert.domain for expert in project.experts if expert.name in request.experts)
    values = sorted(choice.values)
    for row in workspace.find_best(plan, choice.parameter, values, select, in_domain, report, progress, risk=0.0):
        progress.report(0.5, f"{choice.declared.symbol} = {row.value:g}")


def _find_problem(job: Job[None]) -> str | None:
    try:
        for _ in job.follow():
            pass
    except FusionError as error:
        return str(error)
    except BaseException as error:  # a panic in a tokenizer's Rust code is no Exception
        return describe_end(error)
    return None


def _lend(compute: Compute) -> Compute:
    if not is_zero_gpu():
        return compute
    import spaces  # pyright: ignore[reportMissingImports] (the platform brings it)

    return spaces.GPU(compute, duration=estimate_seconds)


compute = _lend(_compute)
"""`_compute`, in a child process with a GPU where one is lent."""


def import_models(project: Project) -> None:
    """Load a model and let it go, so that every child begins with the modules of transformers that this takes.

    Each would import them again in its short time; and forked while another thread imports, it would wait forever.
    """
    load_model(next(iter(checkpoints_of(project).values())))


class LentGpu(Rehearsals):
    """Every state of the controls is computed in a child with a lent GPU, unless its numbers are known. Thread-safe."""

    def __init__(
        self, workspace: Workspace, demo: Project, evaluation: Callable[[Project, str, str], Evaluation]
    ) -> None:
        super().__init__(workspace.settings, demo)
        self._workspace, self._evaluation = workspace, evaluation

    def is_due(self, project: Project, request: FuseRequest) -> bool:
        """True if this state has not been computed by now."""
        with self._lock:
            return _key(project, request) not in self._done

    def hold(self, project: Project, request: FuseRequest, progress: Progress) -> Iterator[tuple[float, str]]:
        """Compute, where that is due; yields how far it is.

        Raises:
            BusyError: there is no GPU, or it was taken away before the end.
            MergeError: the child said what is wrong.
            StoppedError: `progress` was stopped; the child stops at its next step.
        """
        if not self.is_due(project, request) and not self._compare(project, request).unmeasured(self._workspace):
            return  # nor were its statistics trimmed away since
        if not self._is_known(project, request):
            yield from self._borrow(project, request, None, progress)
        self._remember(_key(project, request))

    def hold_search(
        self, project: Project, request: FuseRequest, choice: CurveChoice, progress: Progress
    ) -> Iterator[tuple[float, str]]:
        """Search, unless that was done; all answers of the curve are known then. Yields and raises as `hold` does."""
        plan = self._workspace.plan(request.recipe(project, choice.method))
        key = project, family_of(plan, choice, request.metric)
        with self._lock:
            is_due = key not in self._done
        if is_due:
            yield from self._borrow(project, request, choice, progress)
            self._remember(key)

    def _borrow(
        self, project: Project, request: FuseRequest, choice: CurveChoice | None, progress: Progress
    ) -> Iterator[tuple[float, str]]:
        yield 0.0, "Waiting for a GPU"
        progress.pause(SETTLE_SECONDS)
        try:
            with closing(compute(project, request, choice, self._settings)) as steps:
                for said in steps:
                    progress.check()
                    if isinstance(said, str):
                        raise MergeError(said)
                    yield said
        except gr.Error as error:
            message = str(error.message).strip().rstrip(".")
            raise BusyError(f"ZeroGPU: {message}. What was computed is kept. Try again later.") from None

    def _is_known(self, project: Project, request: FuseRequest) -> bool:
        """True if an earlier server left all numbers of the demo; what a stranger brought is not read before."""
        if project != self._demo:
            return False
        comparison = self._compare(project, request)
        return all(candidate.is_known(comparison.evaluation) for candidate in comparison.candidates)

    def _compare(self, project: Project, request: FuseRequest) -> Comparison:
        evaluation = self._evaluation(project, "report", request.metric)
        return compare(self._workspace, project, request, evaluation)


def _key(project: Project, request: FuseRequest) -> Rehearsed:
    return project, replace(request, metric="", is_from_zero=False)
