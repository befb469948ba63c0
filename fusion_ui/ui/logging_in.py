"""Logging in with the hub, on a Space that offers it."""

from __future__ import annotations

import os

import gradio as gr
import gradio.oauth


def build_login_button() -> gr.LoginButton:
    """The button; gradio adds the routes behind it.

    Gradio knows a Space by a variable that containers of one may lack, and would then log everybody in as the owner.
    """
    setattr(gradio.oauth, "get_space", lambda: os.environ["SPACE_ID"])  # noqa: B010 - not exported
    return gr.LoginButton("Log in with the hub", size="sm", scale=0, min_width=160, elem_id="push-login")
