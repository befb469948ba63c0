"""What all figures share: no jumping, no decoration, colours that survive dark mode and colour blindness.

A figure is Plotly's own JSON as a plain dictionary. Building it through ``plotly.graph_objects`` costs 60 ms a time,
too much for what is drawn many times a second; the tests check every figure against plotly's schema instead.
"""

from __future__ import annotations

import math
from html import escape
from typing import Any

from fusion_ui.tasks.scales import Scale

Figure = dict[str, Any]
"""``{"data": [traces], "layout": {...}}``"""

DOMAIN_COLORS = ("#5a63fc", "#cf1b09", "#7e5a99", "#7e9963", "#bd8700", "#2d99ab", "#ab4851", "#636c75")
"""One a domain, told apart by colour-blind eyes too, and seen on white as well as on the dark page."""

SYMBOLS = ("circle", "square", "triangle-up", "diamond", "cross", "star", "triangle-down", "x")
SYMBOLS += ("pentagon", "hourglass", "triangle-left", "bowtie")
PATTERNS = ("", "/", "x", "-", "\\", "+", "|", ".")
"""Of marks and of bars, in the order in which they stand: colour is never the only thing that tells them apart."""

DASHES = ("solid", "longdash")
"""Of domains' lines. A project may have more domains than there are colours to tell apart: those that share one differ
here, and in their symbol."""

CELL_INK = "#0f172a"
"""Numbers in the cells of heat maps, which are light in either theme."""

MARGIN = {"l": 48, "r": 12, "t": 8, "b": 44}


def new_figure(height: int, traces: list[dict[str, Any]], **layout: Any) -> Figure:
    """A figure on the page's own background; the page sets text and grid colours to its theme's."""
    shared = {
        "height": height,
        "margin": MARGIN,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "uirevision": "keep",  # zoom and hidden traces survive new numbers
        # On a phone it may take more than the half of the figure that it is given by default, and would then scroll.
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "maxheight": 0.7, "font": {"size": 12}},
        "hoverlabel": {"font": {"size": 12}},
        "font": {"size": 12},
        "dragmode": False,
    }
    return {"data": traces, "layout": shared | layout}


def domain_line(number: int) -> tuple[str, str, str]:
    """Colour, symbol and dash of a project's domain by its place: no two of all that fit look the same."""
    dash = DASHES[number // len(DOMAIN_COLORS) % len(DASHES)]
    return DOMAIN_COLORS[number % len(DOMAIN_COLORS)], SYMBOLS[number % len(SYMBOLS)], dash


def value_axis(scale: Scale, low: float | None, high: float | None, is_from_zero: bool = False) -> dict[str, Any]:
    """The axis of a metric's values, cut in steps so that it does not move with every new number.

    Args:
        low, high: the least and the largest number drawn; None where there is none yet.
    """
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        low, high = (0.5, 1.0) if scale.most is not None else (0.0, 1.0)
    if scale.most is not None:
        least = math.floor(low * 10 - 0.2) / 10
        start = least if low < 0 else 0.0 if is_from_zero else max(0.0, least)  # below 0 only where a correlation is
        ends = [start, scale.most + 0.002]
    else:
        step = 10 ** math.floor(math.log10(max(abs(low), abs(high), 1e-9))) / 5
        least = math.floor(low / step - 0.2) * step
        ends = [least if low < 0 else 0.0 if is_from_zero else max(0.0, least), math.ceil(high / step + 0.2) * step]
    return {"range": ends, "tickformat": scale.ticks, "zeroline": False}


def escape_text(text: str) -> str:
    """A text from a person for a figure, where Plotly would draw some tags as markup."""
    return escape(text, quote=False)


def fade(color: str, opacity: float) -> str:
    """A hexadecimal colour with an opacity."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
