"""What happens when somebody types a sentence: every model of the page answers it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import gradio as gr

from fusion_ui.errors import FusionError, StoppedError
from fusion_ui.evaluation.typed_text import TypedAnswers, answer_examples, read_examples
from fusion_ui.ui.comparison import Comparison, compare
from fusion_ui.ui.long_work import LongWork, on_status_line
from fusion_ui.ui.panels.try_it import TryItPanel
from fusion_ui.ui.render import render_status
from fusion_ui.ui.session import Session

LOGGER = logging.getLogger("fusion_ui")


class Trying(LongWork):
    """Handlers of typed sentences. They are in no log, no store and no session."""

    is_quick: ClassVar[bool] = True

    def make_ready(self, session_id: str | None) -> None:
        """Merge what will answer while the person still types. Moving a control ends it.

        Raises:
            BusyError: too many wait already; the answer merges then.
        """
        session = self.handlers.sessions.get(session_id)
        version, request = session.version, session.request
        if session.refusal is not None or session.is_stopped or not session.project.is_complete:
            return
        if self.handlers.rehearsals.is_due(session.project, request):
            return
        comparison = compare(
            self.workspace, session.project, request, self.handlers.evaluation(session.project, "report")
        )
        try:
            with self.handlers.line.join(session.person) as place, session.fetching(place):
                for _ in place.wait():
                    session.check(version)
                with self.handlers.loading.hold(session.project):
                    self._merge_ahead(session, version, comparison)
        except StoppedError:  # the controls moved, and the visitor will come back to the field
            return

    def _merge_ahead(self, session: Session, version: int, comparison: Comparison) -> None:
        with session.working(version, self.workspace.turns.urgent_progress()) as progress:
            for plan in comparison.plans.values():
                if self.workspace.is_measured(plan):
                    progress.check()
                    self.workspace.merge(plan, progress)

    def answer(self, session_id: str | None, text: Any) -> Iterator[list[Any]]:
        """Status while the models answer, or are merged first; at the end every probability."""
        session, started = self.find_session(session_id), time.perf_counter()
        examples = read_examples(str(text or ""))
        evaluation = self.handlers.evaluation(session.project, "report")
        candidates = compare(self.workspace, session.project, session.request, evaluation).candidates
        with self.workspace.turns.urgent():  # what fills in by itself waits meanwhile
            for status, found in self.follow(session, partial(answer_examples, examples, candidates, evaluation)):
                if status:
                    yield [status, gr.skip()]
                    continue
                seconds = time.perf_counter() - started
                number = "1 sentence" if len(examples) == 1 else f"{len(examples)} sentences"
                sentence = f"{number}, {len(found.models)} models, {seconds:.2f} s"
                yield [render_status(sentence), render_answers(found)]


def render_answers(found: TypedAnswers) -> dict[str, Any]:
    """The answers as the panel draws them."""
    colors = [model.color for model in found.models]
    described = found.describe()
    for example in described["examples"]:
        example["texts"] = [text for text in (example.pop("text"), example.pop("pair")) if text is not None]
        example["note"] = found.note(example["num_tokens"])
        for model, color in zip(example["models"], colors, strict=True):
            model["probabilities"] = list(model["probabilities"].values())
            known = [p if p is not None else -1.0 for p in model["probabilities"]]
            model |= {"color": color, "chosen": known.index(max(known)) if known else None}
    return described


def wire_try_it(panel: TryItPanel, trying: Trying) -> None:
    """Connect the panel's events."""

    def answer(request: gr.Request, text: Any) -> Iterator[list[Any]]:
        yield from on_status_line(trying.answer(request.session_hash, text), 2)

    def make_ready(request: gr.Request) -> None:
        try:
            trying.make_ready(request.session_hash)
        except FusionError as error:  # the same when it is asked in earnest, where it is said
            LOGGER.info("nothing was merged ahead: %s", error)

    gr.on(
        [panel.tab.select, panel.text.focus],
        make_ready,
        None,
        None,
        trigger_mode="always_last",
        show_progress="hidden",
        concurrency_limit=4,
        api_visibility="private",
    )
    gr.on(
        [panel.text.submit, panel.answer.click],
        answer,
        panel.text,
        [panel.status, panel.answers],
        trigger_mode="always_last",
        show_progress="hidden",
        concurrency_limit=32,
        api_name="try_it",
    )
