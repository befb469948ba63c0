"""Work that a button starts and a person waits for: its progress on a status line, its result at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import gradio as gr

from fusion_ui.errors import FusionError, RecipeError
from fusion_ui.execution import Job
from fusion_ui.merging.plan import MergePlan
from fusion_ui.progress import Progress
from fusion_ui.ui.handlers import Handlers, as_message
from fusion_ui.ui.line import in_time
from fusion_ui.ui.render import render_status
from fusion_ui.ui.session import Session


class LongWork:
    """Base of such handlers. The work is the visitor's own: Stop and leaving end it, the slider does not."""

    is_quick: ClassVar[bool] = False
    """True for what takes a moment, and does not wait behind exports."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers, self.workspace = handlers, handlers.workspace

    @property
    def label(self) -> str:
        """What the work is called in the log, and by who stops it alone."""
        return type(self).__name__.lower()

    def find_session(self, session_id: str | None) -> Session:
        """The visitor's session, once its project can be merged.

        Raises:
            RecipeError: it lacks models or data, or nothing was computed with them yet.
        """
        session = self.handlers.sessions.get(session_id)
        if not session.project.is_complete:
            raise RecipeError("Add models and data first.")
        if self.handlers.rehearsals.is_due(session.project, session.request):
            raise RecipeError("Wait until the page shows the first numbers of your models, and ask again.")
        return session

    def plan_of(self, session: Session, method: str) -> MergePlan:
        """What the visitor's controls ask of a method."""
        return self.workspace.plan(session.request.recipe(session.project, str(method)))

    def rehearsed(self, session: Session, method: str, work: Callable[[Progress], Any]) -> Callable[[Progress], Any]:
        """`work` with a method that the visitor's controls may not show: a child process computes with it first where
        the models are a stranger's.
        """
        project, request = session.project, session.request
        if method in (*request.methods, *(pin.method for pin in request.pins)):
            return work
        alone = replace(request, methods=(method,), pins=())

        return self.after(partial(self.handlers.rehearsals.hold, project, alone), work)

    def after(
        self, steps: Callable[[Progress], Iterator[tuple[float, str]]], work: Callable[[Progress], Any]
    ) -> Callable[[Progress], Any]:
        """`work` after what a child process does in steps, in the name of whoever makes this web request."""
        context = copy_context()  # by which a GPU is lent

        def follow(progress: Progress) -> None:
            for fraction, message in steps(progress):
                progress.report(fraction, message)

        def run(progress: Progress) -> Any:
            context.run(follow, progress)
            return work(progress)

        return run

    def in_domain_of(self, session: Session) -> tuple[str, ...]:
        """The domains of the experts that take part."""
        included = session.request.experts
        return tuple(expert.domain for expert in session.project.experts if expert.name in included)

    def follow(self, session: Session, work: Callable[[Progress], Any]) -> Iterator[tuple[Any, Any]]:
        """Status lines while `work` waits and runs, each with None; at the end None with the result.

        Raises:
            BusyError: too many wait, or it takes longer than anything may here.
        """
        most = self.workspace.settings.max_job_seconds
        with ExitStack() as stack:
            line = self.handlers.line if self.is_quick else self.handlers.long_line
            place = stack.enter_context(line.join(session.person))
            with session.fetching(place, self.label):
                for sentence in place.wait():
                    yield render_status(sentence), None
            stack.enter_context(self.handlers.loading.hold(session.project))
            job = stack.enter_context(session.fetching(Job(work, self.workspace.turns.urgent_progress), self.label))
            steps = in_time(self.workspace.jobs.record(self.label, session.number, job.follow()), most)
            while True:
                try:
                    fraction, message = next(steps)
                except StopIteration as end:
                    yield None, end.value
                    return
                yield render_status(message, fraction), None


def on_status_line(steps: Iterator[list[Any]], num_outputs: int) -> Iterator[list[Any]]:
    """The steps; a `FusionError` stands on the status line, the first output, and the others stay as they are."""
    try:
        yield from steps
    except FusionError as error:
        yield [render_status(str(error), is_error=True), *[gr.skip()] * (num_outputs - 1)]
    except Exception as error:
        raise as_message(error) from None
