"""What happens when a control moves: the mailbox, and the evaluation that reads it."""

from __future__ import annotations

import html
import logging
import time
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

import gradio as gr
import pandas as pd

from fusion_ui.errors import FusionError, StoppedError, StorageError
from fusion_ui.evaluation.candidates import Candidate, Evaluation
from fusion_ui.execution import Job, Recent
from fusion_ui.merging.plan import MergePlan
from fusion_ui.plots.style import Figure
from fusion_ui.progress import Progress
from fusion_ui.projects.project import Project
from fusion_ui.sources.storage import find_reason
from fusion_ui.ui.comparison import Comparison, compare, project_evaluation
from fusion_ui.ui.curve import Curves
from fusion_ui.ui.curve_choice import MAIN
from fusion_ui.ui.line import Line
from fusion_ui.ui.loading import Loading
from fusion_ui.ui.rehearsing import Rehearsals
from fusion_ui.ui.render import hide_places, render_accuracy, render_numbers, render_status
from fusion_ui.ui.request import FuseRequest, default_request
from fusion_ui.ui.session import Session
from fusion_ui.ui.sessions import Sessions
from fusion_ui.ui.zero_gpu import LentGpu
from fusion_ui.workspace import Workspace

LOGGER = logging.getLogger("fusion_ui")
REDRAW_SECONDS = 0.15
"""Between two drawings; from the end of one, so that drawing never takes up the time of computing."""
TABLE_SECONDS = 1.0
"""Between two drawings of the table, which cost a browser more than the figures."""
SETTLE_SECONDS = 0.05
"""How long a state of the controls must stand before a merge for it begins. What is known is drawn at once."""
MAX_EVALUATIONS = 16
"""Tokenised splits of projects kept in memory, those asked for last."""

Drawing = tuple[Any, Any, Any, Any, Any]
"""Figure, curve, best value, numbers and status; `gr.skip()` for what stays."""


class Handlers:
    """The page's event handlers over one workspace and project. All state is in the visitors' sessions."""

    def __init__(self, workspace: Workspace, project: Project) -> None:
        self.workspace, self.project, settings = workspace, project, workspace.settings
        start = default_request(project)
        self.sessions = Sessions(lambda: Session(project, start), settings.sessions_dir)
        self.line, self.long_line = (
            Line(at_once, settings.max_jobs_per_visitor, settings.max_waiting)
            for at_once in (settings.max_jobs, settings.max_long_jobs)
        )
        self._evaluations: Recent[Evaluation] = Recent(MAX_EVALUATIONS)
        self.loading = Loading(settings, project)
        self.rehearsals = (
            LentGpu(workspace, project, self.evaluation) if settings.borrows_gpu else Rehearsals(settings, project)
        )
        self.curves = Curves(workspace, self.evaluation)

    def evaluation(self, project: Project, split: str, metric: str = "") -> Evaluation:
        """One split of a project: "report" for headline numbers, "select" for choosing alpha.

        Args:
            metric: as a request has it.
        """
        key = project, split, metric
        return self._evaluations.get_or_make(key, lambda: project_evaluation(self.workspace, *key))

    def post(self, request: FuseRequest, session_id: str | None, sent: float | None = None) -> None:
        """Check the controls and put their state into the visitor's mailbox.

        What is impossible stops the visitor's work; the reason stays in the mailbox for `run`, which can show it.
        """
        session = self.sessions.get(session_id)
        try:
            if session.project.is_complete:
                request.check(session.project)
        except FusionError as error:
            session.refuse(error, sent)
        else:
            session.post(request, sent)

    def draw_known(self, session_id: str | None) -> Any:
        """The figure for the newest state, if all its numbers are known: drawn at once, without a turn in the queue.

        `run` draws the same again with everything else. A figure says which state it belongs to, so one that was
        overtaken on its way is not drawn over a newer one.
        """
        session = self.sessions.get(session_id)
        version, request = session.version, session.request
        if session.refusal is not None or session.is_stopped or not session.project.is_complete:
            return gr.skip()
        if self.rehearsals.is_due(session.project, request):
            return gr.skip()
        try:
            evaluation = self.evaluation(session.project, "report", request.metric)
            comparison = compare(self.workspace, session.project, request, evaluation)
            if not all(candidate.is_known(comparison.evaluation) for candidate in comparison.candidates):
                return gr.skip()
            rows = self.workspace.evaluate(comparison.candidates, comparison.evaluation, comparison.in_domain)
            shown = {row.candidate.name: row for row in rows}
            session.check(version)
        except FusionError:  # `run` says it
            return gr.skip()
        return render_accuracy(session.project, shown, frozenset(), request.is_from_zero) | {"version": version}

    def stop(self, session_id: str | None) -> dict[str, Any]:
        """Stop the visitor's work."""
        self.sessions.get(session_id).stop()
        return render_status("Stopped. Move a control to go on.")

    def run(self, session_id: str | None) -> Iterator[Drawing]:
        """Evaluate the newest state of the controls, when it is its turn; ends early when a newer one arrives."""
        session = self.sessions.get(session_id)
        if session.refusal or session.is_stopped or session.drawn_version == session.version:
            yield from self._run_newest(session)  # nothing is computed
            return
        with self.line.join(session.person) as place:
            for sentence in place.wait():
                if session.is_stopped:
                    break
                yield _only_status(render_status(sentence))
            with self.loading.hold(session.project):
                yield from self._run_newest(session)

    def _run_newest(self, session: Session) -> Iterator[Drawing]:
        version, request = session.version, session.request
        if session.refusal is not None:
            yield _only_status(render_status(str(session.refusal), is_error=True))
            raise session.refusal
        if not session.project.is_complete:
            yield *self._draw(session, request, frozenset()), render_status("Add models and data on the left.")
            return
        if session.drawn_version == version:  # letting go of the slider says again what its last move said
            yield _only_status(gr.skip())
            return
        if session.is_stopped:  # queued before Stop was pressed
            yield _only_status(render_status("Stopped. Move a control to go on."))
            return
        yield _only_status(render_status("Merging", 0.0))
        try:
            with self.workspace.turns.urgent():
                steps = self._run(session, version, request)
                yield from self.workspace.jobs.record("evaluate", session.number, steps)
        except StoppedError:
            if session.is_stopped:  # otherwise a newer state is waiting and will speak for itself
                yield _only_status(render_status("Stopped. Move a control to go on."))
            elif session.version == version:  # an older run had stopped what this one was waiting for
                yield from self._run_newest(session)
        except FusionError as error:
            yield _only_status(render_status(str(error), is_error=True))
            raise

    def _run(self, session: Session, version: int, request: FuseRequest) -> Generator[Drawing]:
        with session.working(version, Progress()) as progress:
            for fraction, message in self.rehearsals.hold(session.project, request, progress):
                yield _only_status(render_status(message, fraction))
        evaluation = self.evaluation(session.project, "report", request.metric)
        comparison = compare(self.workspace, session.project, request, evaluation)
        session.check(version)
        names = {candidate.name for candidate in comparison.candidates}
        session.shown = {n: row for n, row in session.shown.items() if n in names and row.is_of(comparison.evaluation)}
        self.curves.follow(session, comparison)
        unmeasured = comparison.unmeasured(self.workspace)
        session.keep_jobs(version, [plan.family_key for plan in unmeasured.values()])
        jobs = {name: self._start_measuring(session, version, plan) for name, plan in unmeasured.items()}
        waiting, started = {candidate.name for candidate in comparison.candidates}, time.perf_counter()
        # What needs no measuring is evaluated meanwhile.
        ready = [candidate for candidate in comparison.candidates if candidate.name not in jobs]
        yield from self._evaluate(session, version, comparison, ready, waiting, jobs)
        for candidate in comparison.candidates:
            if candidate.name in jobs:
                yield from _follow(session, version, jobs[candidate.name])
                yield from self._evaluate(session, version, comparison, [candidate], waiting, jobs)
        session.check(version)
        seconds = f"all numbers in {time.perf_counter() - started:.1f} s"
        detail = ", ".join(filter(None, [self._merge_seconds(comparison), seconds]))
        figure, curve, best, numbers = self._draw(session, request, frozenset())
        session.drawn_version = version
        yield figure, curve, best, numbers, render_status("Up to date", None, detail)

    def _start_measuring(self, session: Session, version: int, plan: MergePlan) -> Job:
        """Measure what the plan's method needs. Goes on while the controls move, unless they leave it unneeded."""
        turns = self.workspace.turns
        work = partial(self.workspace.measure, plan)
        return session.job(version, plan.family_key, lambda: Job(work, turns.urgent_progress))

    def _evaluate(
        self,
        session: Session,
        version: int,
        comparison: Comparison,
        candidates: list[Candidate],
        waiting: set[str],
        jobs: dict[str, Job],
    ) -> Iterator[Drawing]:
        """Merge and evaluate some candidates of the comparison, drawing as numbers come."""
        pending = comparison.pending_merges(candidates)
        if pending:  # while the slider is on its way, nothing is begun that would hold up the value it comes to
            with session.working(version, self.workspace.turns.urgent_progress()) as settling:
                settling.pause(SETTLE_SECONDS)
        for plan in pending:
            job = Job(partial(self.workspace.merge, plan), self.workspace.turns.urgent_progress)
            with session.working(version, job.progress):
                yield from _follow(session, version, job)
        request, drawn, tabled = session.request, time.perf_counter(), time.perf_counter()
        with session.working(version, self.workspace.turns.urgent_progress()) as progress:
            rows = self.workspace.evaluate(candidates, comparison.evaluation, comparison.in_domain, progress)
            for row in rows:
                session.check(version)
                session.shown = {**session.shown, row.candidate.name: row}
                waiting.discard(row.candidate.name)
                if time.perf_counter() - drawn > REDRAW_SECONDS:
                    fraction = _count(comparison, session.shown, waiting)
                    detail = _latest(jobs) or self._merge_seconds(comparison)
                    status = render_status(f"Evaluating, {fraction:.0%}", fraction, detail)
                    figure, curve, best, numbers = self._draw(session, request, frozenset(waiting))
                    is_due = time.perf_counter() - tabled > TABLE_SECONDS
                    yield figure, curve, best, numbers if is_due else gr.skip(), status
                    drawn = time.perf_counter()
                    tabled = drawn if is_due else tabled
                    self._prepare_in_background(comparison)  # now that something is on screen
        self._prepare_in_background(comparison)

    def _prepare_in_background(self, comparison: Comparison) -> None:
        if self.workspace.settings.borrows_gpu:  # the next value is merged in a child
            return
        for plan in comparison.plans.values():
            if self.workspace.is_measured(plan):
                self.workspace.prepare_in_background(plan)

    def fill_curve(self, session_id: str | None) -> Iterator[tuple[Any, Any]]:
        """Go on with the curve while nobody waits for anything."""
        session = self.sessions.get(session_id)
        if not self.rehearsals.is_due(session.project, session.request):
            yield from self.workspace.jobs.record("curve", session.number, self.curves.fill(session))

    def _draw(
        self, session: Session, request: FuseRequest, stale: frozenset[str]
    ) -> tuple[Figure, Figure, dict[str, Any], pd.DataFrame]:
        session = session.snapshot()
        figure = render_accuracy(session.project, session.shown, stale, request.is_from_zero)
        figure |= {"version": session.version}
        numbers = render_numbers(session.project, session.shown)
        return figure, self.curves.draw(session), self.curves.say(session), numbers

    def _merge_seconds(self, comparison: Comparison) -> str:
        """How long the slider's merge took, where it was just made."""
        plan = comparison.plans.get(MAIN[0])
        seconds = self.workspace.merge_seconds(plan) if plan else None
        return "" if seconds is None else f"merged in {seconds:.2f} s"


def _follow(session: Session, version: int, job: Job) -> Iterator[Drawing]:
    """Show where a job is until it has ended or a newer state of the controls has arrived."""
    for fraction, message in job.follow():
        session.check(version)
        yield _only_status(render_status(message, fraction))


def _latest(jobs: dict[str, Job]) -> str:
    """What the first job that still runs does, and how far it is."""
    running = next((job for job in jobs.values() if job.is_running and job.latest), None)
    return f"{running.latest[1]} ({running.latest[0]:.0%})" if running and running.latest else ""


def _only_status(status: Any) -> Drawing:
    return gr.skip(), gr.skip(), gr.skip(), gr.skip(), status


def _count(comparison: Comparison, latest: dict[str, Any], waiting: set[str]) -> float:
    """Share of all sentences of all candidates that were evaluated."""
    rows = [latest[c.name] for c in comparison.candidates if c.name in latest and c.name not in waiting]
    done = sum(score.num_examples for row in rows for score in row.scores)
    asked = (encoded for c in comparison.candidates for encoded in c.answered(comparison.evaluation))
    return done / max(1, sum(map(len, asked)))


def as_message(error: Exception) -> gr.Error:
    """A `FusionError` as it is, a full disk as a sentence; anything else is a bug, logged with its traceback."""
    if (reason := find_reason(error)) and not isinstance(error, FusionError):
        error = StorageError(f"The server could not write: {reason}. Try again later, or tell who runs it.", reason)
    if isinstance(error, FusionError):
        return gr.Error(
            html.escape(hide_places(str(error)), quote=False),
            title="That did not work",
            duration=None,
            print_exception=False,
        )
    LOGGER.exception("a handler failed")
    return gr.Error("Something went wrong inside Fusion UI. The log has the details.", print_exception=False)
