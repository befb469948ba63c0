"""Wiring of the panel from which a person takes a merge along."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from fusion_ui.errors import FusionError
from fusion_ui.methods import find_method, make_method
from fusion_ui.ui.handlers import as_message
from fusion_ui.ui.long_work import on_status_line
from fusion_ui.ui.own_project import Display
from fusion_ui.ui.panels.methods import MethodsPanel
from fusion_ui.ui.panels.takeaway import SAVE_FIGURE, TakeawayPanel, figure_choices, write_command
from fusion_ui.ui.render import render_status
from fusion_ui.ui.request import parse_pins
from fusion_ui.ui.taking_away import TakingAway


def list_merges(methods: list[str], pins: list[str], current: str) -> Any:
    """The list of merges follows the methods and pins that are compared."""
    choices = [(find_method(name).title, name) for name in methods or []]
    choices += [(f"{make_method(p.method, dict(p.parameters)).describe()} (pinned)", p.name) for p in parse_pins(pins)]
    names = [name for _, name in choices]
    return gr.update(choices=choices, value=current if current in names else next(iter(names), None))


def wire_takeaway(
    panel: TakeawayPanel,
    taking: TakingAway,
    methods: MethodsPanel,
    header: gr.HTML,
    display: Display,
    parameter: gr.Dropdown,
    chain: Callable[[Any], None],
) -> None:
    """Connect the panel's events.

    Args:
        header: changes with the project.
        parameter: what the curve goes over.
        chain: evaluates a recipe that was opened.
    """
    quiet: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": 32}

    def make_zip(request: gr.Request, name: str) -> Iterator[list[Any]]:
        yield from on_status_line(taking.make_zip(request.session_hash, name), 2)

    def put_on_hub(
        request: gr.Request, name: str, repository: str, is_private: bool, token: str
    ) -> Iterator[list[Any]]:
        yield from on_status_line(taking.push(request.session_hash, name, repository, is_private, token), 2)

    def put_on_hub_as_visitor(
        request: gr.Request, login: gr.OAuthToken | None, name: str, repository: str, is_private: bool
    ) -> Iterator[list[Any]]:
        if login is None:
            yield [render_status("Log in with the hub first.", is_error=True), gr.skip()]
            return
        yield from put_on_hub(request, name, repository, is_private, login.token)

    def saving(save: Callable[[str | None, str], list[Any]]) -> Callable[..., list[Any]]:
        def handle(request: gr.Request, name: str) -> list[Any]:
            return next(on_status_line((save(request.session_hash, each) for each in [name]), 2))

        return handle

    def open_recipe(request: gr.Request, path: str | None) -> list[Any]:
        try:
            taking.open_recipe(request.session_hash, path)
        except FusionError as error:
            return [render_status(str(error), is_error=True), *[gr.skip()] * len(display.components)]
        except Exception as error:
            raise as_message(error) from None
        said = render_status("The controls say what the recipe says.")
        return [said, *display.show(request.session_hash, [])]

    def stop(request: gr.Request) -> None:
        taking.stop(request.session_hash)

    def follow_project(request: gr.Request) -> str:
        project = taking.handlers.sessions.get(request.session_hash).project
        return write_command(project, taking.workspace.settings.allows_folders)

    panel.pack.click(make_zip, panel.merge, [panel.status, panel.download], **quiet, api_name="make_zip")
    settings, given = taking.workspace.settings, [panel.merge, panel.repository, panel.is_private]
    if settings.demo_only:
        pass  # what is not wired has no endpoint either
    elif settings.offers_login:  # the visitor's own login alone: a token that is sent along is not looked at
        panel.push.click(put_on_hub_as_visitor, given, [panel.status, panel.token], **quiet, api_name="push")
    else:
        panel.push.click(put_on_hub, [*given, panel.token], [panel.status, panel.token], **quiet, api_name="push")
    panel.stop.click(stop, None, None, queue=False, show_progress="hidden", api_visibility="private")
    for control, save, name in (
        (panel.recipe, taking.save_recipe, "save_recipe"),
        (panel.mergekit, taking.save_mergekit, "save_mergekit"),
        (panel.report, taking.save_report, "save_report"),
    ):
        control.click(saving(save), panel.merge, [panel.status, panel.saved], **quiet, api_name=name)
    for control in panel.formats:
        kind = str(control.value).lower()
        save_figure = f"id => ({SAVE_FIGURE})(id, {json.dumps(kind)})"
        control.click(None, panel.figure, panel.status, js=save_figure)
    if not settings.demo_only:
        opened = panel.upload.upload(
            open_recipe, panel.upload, [panel.status, *display.components], **quiet, api_name="open_recipe"
        )
        chain(opened)
    parameter.change(
        lambda key: gr.update(choices=figure_choices(str(key))), parameter, panel.figure, queue=False,
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip
    header.change(follow_project, None, panel.command, queue=False, show_progress="hidden", api_visibility="private")
    gr.on(
        [methods.methods.change, methods.pins.change], list_merges, [methods.methods, methods.pins, panel.merge],
        panel.merge, queue=False, show_progress="hidden", api_visibility="private",
    )  # fmt: skip
