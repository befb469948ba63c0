"""What all figures share: no jumping, no decoration, colours that survive dark mode and colour blindness.

A figure is Plotly's own JSON as a plain dictionary. Building it through ``plotly.graph_objects`` costs 60 ms a time,
too much for what is drawn many times a second; the tests check every figure against plotly's schema instead.
"""

from __future__ import annotations

from html import escape
from typing import Any

Figure = dict[str, Any]
"""``{"data": [traces], "layout": {...}}``"""

DOMAIN_COLORS = ("#4c78ff", "#e4572e", "#8f5bd6", "#2a9d5c", "#c29b00", "#17a2b8", "#b5488d", "#6b7280")
"""One a domain, told apart by lightness as well as by hue."""

MARGIN = {"l": 48, "r": 12, "t": 8, "b": 44}


def new_figure(height: int, traces: list[dict[str, Any]], **layout: Any) -> Figure:
    """A figure on the page's own background; the page sets text and grid colours to its theme's."""
    shared = {
        "height": height,
        "margin": MARGIN,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "uirevision": "keep",  # zoom and hidden traces survive new numbers
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12}},
        "hoverlabel": {"font": {"size": 12}},
        "font": {"size": 12},
        "dragmode": False,
    }
    return {"data": traces, "layout": shared | layout}


def escape_text(text: str) -> str:
    """A text from a person for a figure, where Plotly would draw some tags as markup."""
    return escape(text, quote=False)


def lighten(color: str, share: float) -> str:
    """A hexadecimal colour mixed with white."""
    mixed = (round(int(color[i : i + 2], 16) * (1 - share) + 255 * share) for i in (1, 3, 5))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def fade(color: str, opacity: float) -> str:
    """A hexadecimal colour with an opacity."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
