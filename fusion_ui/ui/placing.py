"""Bringing a visitor's session to a project and settings from elsewhere: a link, the history, the last visit.

The session is changed first. Then the page evaluates what the session holds, and the controls are made to show it;
what a browser happens to show meanwhile is never sent back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from fusion_ui.errors import FusionError, RecipeError
from fusion_ui.projects.presets import read_presets
from fusion_ui.projects.project import Project
from fusion_ui.ui.panels.exceptions import ExceptionsPanel, show_exceptions
from fusion_ui.ui.panels.fuse import show_metrics
from fusion_ui.ui.panels.methods import show_pins
from fusion_ui.ui.panels.project import OWN
from fusion_ui.ui.request import FuseRequest
from fusion_ui.ui.request_json import parse_request
from fusion_ui.ui.session import Session


@dataclass(frozen=True)
class SettingControls:
    """The controls beside a project's own rows."""

    num_examples: gr.Slider
    references: gr.CheckboxGroup
    pins: gr.Dropdown
    is_from_zero: gr.Checkbox
    metric: gr.Dropdown
    exceptions: ExceptionsPanel
    parameters: dict[tuple[str, str], Component]

    @property
    def components(self) -> list[Component]:
        """In the order of `show`."""
        plain = [self.num_examples, self.references, self.pins, self.is_from_zero, self.metric]
        return [*plain, *self.exceptions.controls, *self.parameters.values()]

    def show(self, request: FuseRequest, project: Project) -> list[Any]:
        """Updates that make the controls say what `request` says."""
        values = {method: dict(parameters) for method, parameters in request.parameters}
        return [
            gr.update(value=request.num_examples),
            gr.update(value=list(request.references)),
            show_pins(request.pins),
            gr.update(value=request.is_from_zero),
            show_metrics(request, project),
            *show_exceptions(request, project),
            *(gr.update(value=values[method][name]) for method, name in self.parameters),
        ]


def place(session: Session, demo: Project, project: str, settings: Any, sent: float | None = None) -> str:
    """Bring the session to a project and its settings, or have them await the preset that the visitor must open.

    Args:
        project: name of the demo or of a preset, or `OWN`.
        settings: as of `describe_request`; nothing in them is trusted.
        sent: when the browser asked for it, by its clock.

    Returns:
        What is left to do; empty where nothing is.

    Raises:
        FusionError: it cannot be; nothing has changed then.
    """
    if project == demo.name:
        _show(session, demo, parse_request(settings, demo), sent)
    elif project == (session.preset or OWN):
        if not session.own.is_complete:
            raise RecipeError(
                "This was made of your own models, which are not here any more; its numbers stay. Add the models and "
                "their data again, then restore it."
            )
        _show(session, session.own, parse_request(settings, session.own), sent)
    elif (preset := read_presets().get(project)) is not None:
        session.awaited = (project, settings)
        return f"{preset.title}: press 'Fetch and open' under Project, and its settings follow."
    elif project == OWN:
        raise RecipeError("This was made of your own models, in whose place another project is now. Its numbers stay.")
    else:
        raise RecipeError(f"There is no project {project[:60]!r} here. Nothing was changed.")
    session.awaited = None
    return ""


def take_awaited(session: Session) -> list[str]:
    """Give a preset that was just opened the settings that await it; what is to be said of that."""
    awaited, session.awaited = session.awaited, None
    if awaited is None or awaited[0] != session.preset:
        return []
    try:
        request = parse_request(awaited[1], session.project)
    except FusionError as error:
        return [f"The settings that were asked for do not fit. {error}"]
    session.show(session.project, request)
    return ["Its settings are those that were asked for."]


def _show(session: Session, project: Project, request: FuseRequest, sent: float | None) -> None:
    if session.project is project:
        session.post(request, sent)
    else:
        session.show(project, request)
