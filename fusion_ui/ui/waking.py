"""A call whose answers would wait for ever on the server is woken.

All calls of a page answer over one stream, which gradio closes when none is left and opens with the next call. A call
that is taken while the stream is being closed is thought to answer over it, and nothing comes until another call opens
a new one: figures stay half drawn. The page sees that (assets/page.js) and makes such a call.
"""

from __future__ import annotations

import gradio as gr


def wire_waking() -> None:
    """A button for the page's script alone, whose event does nothing but open the stream."""
    button = gr.Button(visible="hidden", elem_id="wake")
    button.click(_nothing, None, None, show_progress="hidden", concurrency_limit=None, api_visibility="private")


def _nothing() -> None:
    pass
