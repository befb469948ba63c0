"""The page's header: what is shown, undo and redo, the link to it, and the switch for an audience."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from fusion_ui.ui.controls import status_line
from fusion_ui.ui.render import render_status


@dataclass(frozen=True)
class Toolbar:
    """The panel's components."""

    facts: gr.HTML
    undo: gr.Button
    redo: gr.Button
    copy: gr.Button
    present: gr.Button
    link: gr.Textbox
    said: gr.HTML


def build_toolbar(header: str) -> Toolbar:
    """The header with small buttons; below it the link, once there is one, and what is to be said."""
    with gr.Row(equal_height=True, elem_id="top"):
        facts = gr.HTML(header)
        with gr.Row(elem_id="toolbar"):
            undo, redo, copy, present = (
                gr.Button(title, size="sm", scale=0, min_width=80, elem_id=title.lower().replace(" ", "-"))
                for title in ("Undo", "Redo", "Copy link", "Present")
            )
    link = gr.Textbox(
        label="Reopens this project with these settings",
        visible=False,
        interactive=False,
        max_lines=1,
        buttons=["copy"],
        elem_id="link",
    )
    return Toolbar(facts, undo, redo, copy, present, link, status_line(render_status(""), "said"))
