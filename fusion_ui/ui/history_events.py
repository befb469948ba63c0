"""Wiring of what outlives a moment: arriving and leaving, undo and redo, the link, and the list of merges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import gradio as gr

from fusion_ui.errors import FusionError
from fusion_ui.ui.handlers import as_message
from fusion_ui.ui.history import Returning
from fusion_ui.ui.merge_list import list_merges
from fusion_ui.ui.own_project import Chain
from fusion_ui.ui.panels.history import HistoryPanel
from fusion_ui.ui.panels.toolbar import Toolbar
from fusion_ui.ui.remembering import SETTLED_SECONDS, Remembering
from fusion_ui.ui.render import render_status
from fusion_ui.ui.session import Session

AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
# The page's script may still be on its way. Where it never comes, the visitor is nobody that was here before.
ARRIVE = """async () => {
  for (let i = 0; i < 250 && !window.fusionUI; i++) await new Promise(go => setTimeout(go, 20));
  return window.fusionUI ? window.fusionUI.arrive() : ['', '', null];
}"""
STAMP = "(...values) => [...values.slice(0, -1), window.fusionUI.stamp()]"


def wire_history(app: gr.Blocks, toolbar: Toolbar, panel: HistoryPanel, returning: Returning, chain: Chain) -> Any:
    """Connect the events of the toolbar and of the list.

    Args:
        chain: what follows a change of the session: evaluate it, fill the curve.

    Returns:
        The event of a page that was loaded.
    """
    shown = [*returning.display.components, toolbar.said, panel.said, panel.merges]
    stamp, visitor, link = gr.Number(visible=False), gr.Textbox(visible=False), gr.Textbox(visible=False)
    on_toolbar, on_panel = 0, 1

    def handling(handle: Callable[..., list[Any]], line: int) -> Callable[..., list[Any]]:
        """The handler; what it refuses stands on one of the two status lines."""

        def run(request: gr.Request, *values: Any) -> list[Any]:
            try:
                return handle(request.session_hash, *values)
            except FusionError as error:
                status = render_status(str(error), is_error=True)
                return returning.say(status) if line == on_toolbar else returning.say(panel=status)
            except Exception as error:
                raise as_message(error) from None

        return run

    def choose(request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        keys = event._data.get("chosen") if isinstance(event._data, dict) else None
        keys = keys if isinstance(keys, list) else []
        one, some = gr.update(interactive=len(keys) == 1), gr.update(interactive=bool(keys))
        try:
            said = returning.compare(request.session_hash, keys)
        except FusionError as error:
            said = render_status(str(error), is_error=True)
        return keys, said, one, one, one, some

    def make_link(request: gr.Request) -> tuple[Any, Any, Any]:
        try:
            found = returning.link(request.session_hash)
        except FusionError as error:
            return "", gr.update(visible=False), render_status(str(error), is_error=True)
        return found, gr.update(visible=True), render_status("")

    def weigh(request: gr.Request) -> Any:
        return returning.weigh(request.session_hash)

    arriving = handling(returning.arrive, on_toolbar)
    arrived = app.load(arriving, [visitor, link, stamp], shown, js=ARRIVE, **AT_ONCE, api_name="arrive")
    chain(arrived)
    offered = returning.display.panel.weighed
    arrived.success(weigh, None, offered, show_progress="hidden", api_visibility="private")
    for button, is_back, name in ((toolbar.undo, True, "undo"), (toolbar.redo, False, "redo")):
        stepping = handling(lambda session_id, is_back=is_back: returning.step(session_id, is_back), on_toolbar)
        chain(button.click(stepping, None, shown, **AT_ONCE, api_name=name))
    made = toolbar.copy.click(make_link, None, [link, toolbar.link, toolbar.said], **AT_ONCE, api_name="link")
    made.success(
        None, [link, toolbar.said], [toolbar.link, toolbar.said],
        js="(link, said) => window.fusionUI.copy(link, said)",
    )  # fmt: skip
    toolbar.present.click(None, None, None, js="() => window.fusionUI.present()")

    changing = [panel.chosen, panel.restore, panel.pin, panel.rename, panel.remove]
    panel.merges.select(choose, None, [changing[0], panel.said, *changing[1:]], **AT_ONCE, api_visibility="private")
    for button, change, name in ((panel.restore, returning.restore, "restore"), (panel.pin, returning.pin, "pin")):
        inputs = [panel.chosen, stamp]
        chain(button.click(handling(change, on_panel), inputs, shown, js=STAMP, **AT_ONCE, api_name=name))
    renaming = handling(returning.rename, on_panel)
    for event in (panel.rename.click, panel.name.submit):
        event(renaming, [panel.chosen, panel.name], shown, **AT_ONCE, api_visibility="private")
    panel.remove.click(handling(returning.remove, on_panel), panel.chosen, shown, **AT_ONCE, api_visibility="private")
    return arrived


def wire_leaving(app: gr.Blocks, remembering: Remembering) -> None:
    """When the page is left, it is kept where the controls stood, and its work stops."""

    def leave(request: gr.Request) -> None:
        try:
            remembering.leave(remembering.sessions.get(request.session_hash))
        finally:
            remembering.sessions.forget(request.session_hash)

    app.unload(leave)


def wire_settling(ran: Any, remembering: Remembering, panel: HistoryPanel) -> None:
    """After an evaluation the list has what it brought; once the controls stand still, they have come to it."""

    def draw(session: Session) -> dict[str, Any]:
        return list_merges(remembering.history(session), session)

    async def settle(request: gr.Request) -> AsyncIterator[Any]:
        session = remembering.sessions.get(request.session_hash)
        version = session.version
        yield await asyncio.to_thread(draw, session)
        await asyncio.sleep(SETTLED_SECONDS)
        if session.version == version == session.drawn_version:
            await asyncio.to_thread(remembering.settle, session)
            yield await asyncio.to_thread(draw, session)

    ran.success(
        settle, None, panel.merges, trigger_mode="always_last", show_progress="hidden", concurrency_id="history",
        concurrency_limit=64, api_visibility="private",
    )  # fmt: skip
