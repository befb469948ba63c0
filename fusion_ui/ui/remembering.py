"""What is kept of a visitor: every merge that was completely evaluated, and where the controls stood."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
from collections.abc import Iterator
from typing import Any, TypeGuard

from fusion_ui.errors import FusionError, RecipeError
from fusion_ui.evaluation.candidates import Evaluation
from fusion_ui.projects.project import Project
from fusion_ui.results.difference import MergeDifference, compare_merges
from fusion_ui.results.history import (
    MAX_MERGES,
    Added,
    Event,
    History,
    Left,
    Named,
    RememberedMerge,
    Removed,
    Settled,
    remember_domains,
)
from fusion_ui.results.store import HistoryStore
from fusion_ui.ui.comparison import compare
from fusion_ui.ui.handlers import Drawing, Handlers
from fusion_ui.ui.panels.project import OWN
from fusion_ui.ui.request import FuseRequest
from fusion_ui.ui.request_json import describe_request, settle_on
from fusion_ui.ui.session import Session
from fusion_ui.workspace import CandidateScores

LOGGER = logging.getLogger("fusion_ui")
SETTLED_SECONDS = 1.0
"""How long the controls stand still on a merge that they have come to, and not only passed."""
CLOCK_SECONDS = 60.0
"""By which the clocks of two servers may differ."""
MAX_NAME = 80
_VISITOR = re.compile(r"[0-9a-f]{32}")


class Remembering:
    """Visitors' histories over the page's handlers. Whose history it is stands in the session, never in an argument."""

    def __init__(self, handlers: Handlers) -> None:
        settings = handlers.workspace.settings
        self.handlers, self.sessions = handlers, handlers.sessions
        self.store = HistoryStore(settings.history_dir, settings.max_history_bytes)

    def greet(self, session: Session, visitor: object) -> None:
        """Learn whose session this is. A browser that keeps no id gets one that ends with the page."""
        is_id = isinstance(visitor, str) and _VISITOR.fullmatch(visitor)
        session.visitor = str(visitor) if is_id else secrets.token_hex(16)

    def history(self, session: Session) -> History:
        """What this visitor did."""
        return self.store.read(session.visitor) if session.visitor else History()

    def find(self, session: Session, keys: object) -> RememberedMerge:
        """The one chosen merge of this visitor.

        Raises:
            RecipeError: none or several are chosen, or it is not there any more.
        """
        merge, *others = self._find_all(session, keys) or [None]
        if merge is None or others:
            raise RecipeError("Tick one merge in the history first.")
        return merge

    def _find_all(self, session: Session, keys: object) -> list[RememberedMerge]:
        merges = self.history(session).merges
        return [merges[key] for key in keys if isinstance(key, str) and key in merges] if _is_list(keys) else []

    def run(self, session_id: str | None) -> Iterator[Drawing]:
        """Evaluate the newest state of the controls, and remember every merge of it that gets complete."""
        session = self.sessions.get(session_id)
        project, request = session.project, session.request
        try:
            yield from self.handlers.run(session_id)
        finally:
            # A state that came between the two is as good: a merge is told by its key.
            self._note(session, project, dict.fromkeys([request, session.request]))

    def settle(self, session: Session) -> None:
        """The controls stand still: so they came to these merges, and this is where they would be found again."""
        merges = self.history(session).merges
        keys = [session.remembered[name] for name in session.shown if name in session.remembered]
        now = self.store.clock()
        self._append(session, [Settled(key, now) for key in keys if key in merges and not merges[key].is_settled])
        self.leave(session)

    def leave(self, session: Session) -> None:
        """Keep where the controls stand, unless another page of the same visitor was used since."""
        last, changed = self.history(session).last, session.changed
        place, settings = self.place_of(session), describe_request(session.request)
        # What was kept in the future was kept before the clock was set back, and what differs came later.
        if (
            last
            and last.time > self.store.clock() + CLOCK_SECONDS
            and (place, settings) != (last.project, last.settings)
        ):
            changed = last.time + 0.001
        if session.visitor and changed > (last.time if last else 0.0):
            self._append(session, [Left(changed, place, settings)])

    def place_of(self, session: Session) -> str:
        """The name under which what the session shows could be opened again; `OWN` where it could not."""
        if session.project is session.own:
            return session.preset or OWN
        return session.project.name

    def rename(self, session: Session, keys: object, name: object) -> None:
        """Call a merge something; nothing takes its name away."""
        merge = self.find(session, keys)
        text = " ".join(name.split())[:MAX_NAME] if isinstance(name, str) else ""
        self._append(session, [Named(merge.key, text)])

    def remove(self, session: Session, keys: object) -> None:
        """Take merges out of the list."""
        self._append(session, [Removed(merge.key) for merge in self._find_all(session, keys)])

    def compare(self, session: Session, keys: object) -> tuple[RememberedMerge, RememberedMerge, MergeDifference]:
        """The first of two chosen merges against the second."""
        chosen = self._find_all(session, keys)
        if len(chosen) != 2:
            raise RecipeError("Tick two merges in the history first.")
        return chosen[0], chosen[1], compare_merges(chosen[0], chosen[1])

    def _append(self, session: Session, events: list[Event]) -> None:
        if session.visitor:
            self.store.append(session.visitor, events)

    def _note(self, session: Session, project: Project, requests: dict[FuseRequest, None]) -> None:
        """Add what is complete on the page, and was not before, to the history."""
        complete = {n: row for n, row in session.shown.items() if row.is_complete and not row.candidate.is_reference}
        if not session.visitor or not complete or session.project is not project:
            return
        try:
            evaluation = self.handlers.evaluation(project, "report", session.request.metric)
            complete = {n: row for n, row in complete.items() if row.is_of(evaluation)}
            place = self.place_of(session)
            keys = {name: _key(place, row, evaluation) for name, row in complete.items()}
            if any(session.remembered.get(name) != key for name, key in keys.items()):
                for request in requests:
                    self._add(session, request, complete, keys, evaluation)
        except (FusionError, OSError) as error:
            LOGGER.info("a merge is not remembered, since its visitor has left: %s", type(error).__name__)

    def _add(
        self,
        session: Session,
        request: FuseRequest,
        complete: dict[str, CandidateScores],
        keys: dict[str, str],
        evaluation: Evaluation,
    ) -> None:
        project, history = session.project, self.history(session)
        is_first = not session.remembered  # what was removed does not come back just because the page is loaded again
        settings = {setting.name: setting for setting in request.settings}
        events: list[Event] = []
        for candidate in compare(self.handlers.workspace, project, request, evaluation).candidates:
            row, setting = complete.get(candidate.name), settings.get(candidate.name)
            if row is None or setting is None or row.candidate.key != candidate.key:
                continue
            key = keys[candidate.name]
            is_new = session.remembered.get(candidate.name) != key and key not in history.merges
            session.remembered = {**session.remembered, candidate.name: key}
            if not is_new or (is_first and key in history.removed):
                continue
            merge = RememberedMerge(
                key=key,
                time=self.store.clock(),
                project=self.place_of(session),
                project_title=project.title,
                title=candidate.title,
                color=candidate.color,
                method=setting.method,
                parameters=dict(setting.parameters),
                settings=describe_request(settle_on(request, setting)),
                domains=remember_domains(row, evaluation),
            )
            events.append(Added(merge))
        self._append(session, events)


def _key(place: str, row: CandidateScores, evaluation: Evaluation) -> str:
    # Metric and threshold only where they are not the usual ones, so that what was remembered before keeps its key.
    sentences = [
        d.domain.fingerprint
        + (f" {d.metric.name}" if d.metric.name != d.task.metrics[0].name else "")
        + ("" if d.domain.threshold is None else f" {d.domain.threshold:g}")
        for d in evaluation.domains
    ]
    return hashlib.sha256(json.dumps([place, row.candidate.key, sentences]).encode()).hexdigest()[:24]


def _is_list(keys: object) -> TypeGuard[list[Any]]:
    return isinstance(keys, list) and len(keys) <= MAX_MERGES
