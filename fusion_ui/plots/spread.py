"""Several runs of the same thing: a mark at the mean, a bar from the smallest to the largest, a dot for each run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from fusion_ui.plots.style import MARGIN, Figure, escape_text, fade, new_figure

HEIGHT = 380
WIDTH = 0.7
"""Of a group, whose distance to the next is 1."""


def spread_figure(frame: pd.DataFrame, groups: Mapping[str, str], series: Mapping[str, str]) -> Figure:
    """Marks of every series, side by side in each group.

    Args:
        frame: a row for each group, series and run, with the columns ``group``, ``series``, ``run`` and ``value``.
        groups: group -> title, in order.
        series: series -> colour, in order.
    """
    traces: list[dict[str, Any]] = []
    records = frame.to_dict(orient="records")
    for i, (name, color) in enumerate(series.items()):
        offset = WIDTH * ((i + 0.5) / len(series) - 0.5)
        found = {
            x + offset: rows
            for x, group in enumerate(groups)
            if (rows := [row for row in records if (row["series"], row["group"]) == (name, group)])
        }
        traces += [_means(name, color, found), _runs(name, color, found)]
    lowest = min((row["value"] for row in records), default=0.5)
    low = max(0.0, math.floor(20 * lowest - 0.2) / 20)
    ticks = [escape_text(title).replace(" ", "<br>") for title in groups.values()]
    return new_figure(
        HEIGHT,
        traces,
        xaxis={"tickvals": list(range(len(groups))), "ticktext": ticks, "range": [-0.5, len(groups) - 0.5]}
        | {"showgrid": False, "zeroline": False, "tickangle": 0},
        yaxis={"range": [low, 1.002], "tickformat": ".0%", "zeroline": False},
        margin=MARGIN | {"b": 62},
    )


def _means(name: str, color: str, found: Mapping[float, list[dict[Any, Any]]]) -> dict[str, Any]:
    groups = [[row["value"] for row in rows] for rows in found.values()]
    spans = [(sum(values) / len(values), min(values), max(values), len(values)) for values in groups]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape_text(name),
        "legendgroup": name,
        "x": list(found),
        "y": [mean for mean, *_ in spans],
        "marker": {"color": color, "size": 10},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [high - mean for mean, _, high, _ in spans],
            "arrayminus": [mean - low for mean, low, _, _ in spans],
            "thickness": 2,
            "width": 0,
            "color": color,
        },
        "customdata": [[low, high, count] for _, low, high, count in spans],
        "hovertemplate": "%{y:.1%}, %{customdata[0]:.1%} to %{customdata[1]:.1%} in %{customdata[2]} runs"
        "<extra>%{fullData.name}</extra>",
    }


def _runs(name: str, color: str, found: Mapping[float, list[dict[Any, Any]]]) -> dict[str, Any]:
    rows = [(x, row) for x, part in found.items() for row in part]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape_text(name),
        "legendgroup": name,
        "showlegend": False,
        "x": [x for x, _ in rows],
        "y": [row["value"] for _, row in rows],
        "customdata": [[row["run"]] for _, row in rows],
        "marker": {"color": fade(color, 0.35), "size": 6},
        "hovertemplate": "run %{customdata[0]}: %{y:.1%}<extra>%{fullData.name}</extra>",
    }
