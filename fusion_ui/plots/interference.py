"""A number for every layer and pair of experts: where their changes go together, and where they cancel."""

from __future__ import annotations

import html
import math

import pandas as pd

from fusion_ui.plots.layers import LEAST_HEIGHT, QUANTITIES, ROW_HEIGHT
from fusion_ui.plots.style import CELL_INK, Figure, escape_text, new_figure

MAX_NAME = 24
"""Characters of an expert's name on the axis."""


def interference_figure(frame: pd.DataFrame, quantity: str) -> Figure:
    """A heat map of layers and pairs, with the number in every cell.

    Args:
        frame: a table by `fusion_ui.results.interference.pair_table`; may be empty.
        quantity: one of its numbers.
    """
    about, records = QUANTITIES[quantity], frame.to_dict("records")
    pairs = list(dict.fromkeys((row["first"], row["second"]) for row in records))
    places = list(dict.fromkeys(row["place"] for row in records))
    found = {(row["place"], row["first"], row["second"]): row[quantity] for row in records}
    values = [[None if math.isnan(v := found[place, *pair]) else v for pair in pairs] for place in places]
    low, high = about.span
    known = [v for row in values for v in row if v is not None]
    trace = {
        "type": "heatmap",
        "x": [f"{_plain(first)} · {_plain(second)}" for first, second in pairs],
        "y": [escape_text(place) for place in places],
        "z": values,
        "text": [["" if v is None else f"{v:{about.format}}" for v in row] for row in values],
        "texttemplate": "%{text}",
        "textfont": {"size": 10, "color": CELL_INK},
        "hovertemplate": f"%{{y}}, %{{x}}<br>{about.title}: %{{text}}<extra></extra>",
        "hoverongaps": False,
        "colorscale": [list(color) for color in about.colors],
        "zmin": low,
        "zmax": max([about.least, *known]) if high is None else high,
        "showscale": False,  # the numbers stand in the cells
        "xgap": 1,
        "ygap": 1,
    }
    return new_figure(
        max(LEAST_HEIGHT, 110 + ROW_HEIGHT * len(places)),
        [trace],
        xaxis={"type": "category", "autotickangles": [0, -35], "showgrid": False, "automargin": True},
        yaxis={"type": "category", "autorange": "reversed", "showgrid": False, "automargin": True},
    )


def _plain(name: str) -> str:
    """A name that people gave, short and without what plotly would take for markup."""
    return html.escape(name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…", quote=False)
