"""Colours, fonts and the files the page loads: all from this machine."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import plotly
from gradio.themes import Base, Default

from fusion_ui.settings import ASSETS

PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
CSS = ASSETS / "theme.css"
SCRIPT = ASSETS / "page.js"
FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def make_theme() -> Base:
    """Gradio's own default with system fonts, so that nothing is fetched from elsewhere."""
    theme = Default(
        primary_hue="indigo", neutral_hue="slate", radius_size="md", spacing_size="sm", font=FONT, font_mono=MONO
    )
    # The default's own grey is too light to be read on white.
    return theme.set(body_text_color_subdued="*neutral_600")


def page_head(root_path: str = "") -> str:
    """The script that draws the figures, served by this process from the installed package, and the page's own."""
    gr.set_static_paths([PLOTLY, SCRIPT])
    return "".join(f'<script src="{root_path}/gradio_api/file={path}"></script>' for path in (PLOTLY, SCRIPT))
