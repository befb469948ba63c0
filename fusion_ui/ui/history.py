"""What happens when a person arrives, goes a step back, makes a link, or uses the list of merges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from fusion_ui.errors import FusionError, RecipeError
from fusion_ui.ui.bringing import Bringing
from fusion_ui.ui.links import read_link, write_link
from fusion_ui.ui.merge_list import list_merges
from fusion_ui.ui.own_project import Display
from fusion_ui.ui.panels.project import OWN
from fusion_ui.ui.placing import place
from fusion_ui.ui.remembering import Remembering
from fusion_ui.ui.render import render_status
from fusion_ui.ui.request import FuseRequest, parse_pins, pin_text
from fusion_ui.ui.request_json import describe_request, parse_request
from fusion_ui.ui.session import Session

SKIP = gr.skip()


class Returning:
    """Handlers. Each gives updates for `display.components`, the two status lines, and the list of merges."""

    def __init__(self, remembering: Remembering, bringing: Bringing, display: Display) -> None:
        self.remembering, self.bringing, self.display = remembering, bringing, display
        self.sessions, self.demo = bringing.sessions, bringing.demo

    def say(self, toolbar: Any = SKIP, panel: Any = SKIP, merges: Any = SKIP) -> list[Any]:
        """Updates that leave the controls alone."""
        return [*[gr.skip()] * len(self.display.components), toolbar, panel, merges]

    def show(self, session_id: str | None, toolbar: str = "", panel: str = "") -> list[Any]:
        """Updates that show all that the session has; a preset that awaits its opening is offered."""
        session, updates = self.sessions.get(session_id), self.display.show(session_id, [])
        if session.awaited is not None:
            updates[-4:-1] = [gr.update(visible=True), render_status("Weighing what it takes"), session.awaited[0]]
        return [*updates, render_status(toolbar), render_status(panel), self._list(session)]

    def _list(self, session: Session) -> dict[str, Any]:
        return list_merges(self.remembering.history(session), session)

    def arrive(self, session_id: str | None, visitor: object, link: object, sent: float | None) -> list[Any]:
        """A page was loaded: it goes on where its visitor was, or begins where a link says."""
        session = self.sessions.get(session_id)
        self.remembering.greet(session, visitor)
        left = self.sessions.take_back(session.visitor)
        if left is not None:
            session.inherit(left)
        for other in self.sessions.of_visitor(session.visitor):  # a page loaded again may not have parted yet
            self.remembering.leave(other)
        last, shown = self.remembering.history(session).last, self.say(merges=self._list(session))
        try:
            if isinstance(link, str) and link:
                project, settings = read_link(link)
                self.bringing.check_place(project)
                todo = place(session, self.demo, project, settings, sent)
                return self.show(session_id, todo or "Opened from a link.")
            if left is None and last is not None:
                self.bringing.check_place(last.project)
                return self.show(session_id, place(session, self.demo, last.project, last.settings, sent))
        except FusionError as error:
            shown = self.show(session_id)
            shown[-3] = render_status(str(error), is_error=bool(link))
            return shown
        return shown if left is None else self.show(session_id)

    def weigh(self, session_id: str | None) -> Any:
        """What it takes to open the preset that the visitor's settings await."""
        awaited = self.sessions.get(session_id).awaited
        if awaited is None:
            return gr.skip()
        try:
            return render_status(" ".join(self.bringing.weigh_preset(session_id, awaited[0])))
        except FusionError as error:
            return render_status(str(error), is_error=True)

    def step(self, session_id: str | None, is_back: bool) -> list[Any]:
        """Undo, or redo."""
        if self.sessions.get(session_id).step(is_back):
            return self.show(session_id)
        return self.say(render_status(f"There is nothing to {'undo' if is_back else 'redo'}."))

    def restore(self, session_id: str | None, keys: object, sent: float | None) -> list[Any]:
        """The controls go back to a merge's settings."""
        session = self.sessions.get(session_id)
        merge = self.remembering.find(session, keys)
        self.bringing.check_place(merge.project)
        todo = place(session, self.demo, merge.project, merge.settings, sent)
        return self.show(session_id, panel=todo or f"{merge.label}: restored.")

    def pin(self, session_id: str | None, keys: object, sent: float | None) -> list[Any]:
        """A merge of the models, weights and sentences that the controls say stands beside the others."""
        session = self.sessions.get(session_id)
        merge, now = self.remembering.find(session, keys), session.request
        if merge.project != self.remembering.place_of(session) or _basis(
            parse_request(merge.settings, session.project)
        ) != _basis(now):
            raise RecipeError(
                f"{merge.label} was made of other models, weights or calibration sentences than the controls say now, "
                "so it cannot stand beside them. Restore it first, or compare the two in this list."
            )
        pins = [pin_text(pin.method, dict(pin.parameters)) for pin in now.pins]
        request = replace(now, pins=parse_pins([*pins, pin_text(merge.method, merge.parameters)]))
        request.check(session.project)
        session.post(request, sent)
        return self.show(session_id, panel=f"{merge.label}: pinned.")

    def rename(self, session_id: str | None, keys: object, name: object) -> list[Any]:
        """A merge is called something else."""
        session = self.sessions.get(session_id)
        self.remembering.rename(session, keys, name)
        return self.say(panel=render_status(""), merges=self._list(session))

    def remove(self, session_id: str | None, keys: object) -> list[Any]:
        """Merges leave the list."""
        session = self.sessions.get(session_id)
        self.remembering.remove(session, keys)
        return self.say(panel=render_status(""), merges=self._list(session))

    def compare(self, session_id: str | None, keys: list[Any]) -> dict[str, Any]:
        """Two ticked merges in words; nothing for any other number."""
        if len(keys) != 2:
            return render_status(f"{len(keys)} are ticked. Tick two to compare them." if len(keys) > 2 else "")
        first, second, found = self.remembering.compare(self.sessions.get(session_id), keys)
        return render_status(f"{first.label} against {second.label}: {found.words}.", None, found.detail)

    def link(self, session_id: str | None) -> str:
        """What the address of this project with these settings ends with.

        Raises:
            RecipeError: nobody else could open the project, or there are too many settings.
        """
        session = self.sessions.get(session_id)
        if (project := self.remembering.place_of(session)) == OWN:
            raise RecipeError(
                "A link can name the demo and the presets, but not models of your own, which nobody else has here."
            )
        return write_link(project, describe_request(session.request))


def _basis(request: FuseRequest) -> tuple[Any, ...]:
    """What a merge is made of, whatever its method."""
    calibration, weights = dict(request.calibration), dict(request.weights)
    return request.num_examples, [(name, calibration[name], weights.get(name, 1)) for name in request.experts]
