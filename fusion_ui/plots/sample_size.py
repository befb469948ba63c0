"""How a merge's accuracy goes with the number of sentences that its statistics are measured on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fusion_ui.plots.parameter_curve import Level
from fusion_ui.plots.style import Figure, domain_line, escape_text, fade, new_figure

HEIGHT = 380
BAND = 0.15
DASHES = ("dash", "dot", "dashdot")


def sample_size_figure(frame: pd.DataFrame, domains: Mapping[str, str], levels: Sequence[Level] = ()) -> Figure:
    """A line through the means of several draws for each domain, a bold one through the mean of all domains.

    Bands reach from the smallest to the largest draw. The axis of sizes is logarithmic.

    Args:
        frame: a row for each size, draw and domain, with the columns ``num_examples``, ``draw``, ``domain``, ``value``.
        domains: domain name -> title.
        levels: what needs no such sentences, as lines across.
    """
    traces: list[dict[str, Any]] = []
    records = frame.to_dict(orient="records")
    for i, (name, title) in enumerate(domains.items()):
        color, _, dash = domain_line(i)
        rows = _summarise([row for row in records if row["domain"] == name])
        line = {"color": color, "width": 1.5, "dash": dash}
        traces += [_band(rows, title, fade(color, BAND)), _line(rows, title, line)]
    mean = _summarise(records)
    traces.append(_band(mean, "mean", "rgba(128,128,128,0.2)"))
    traces.append(_line(mean, "mean", {"width": 4}) | {"meta": "ink"})  # drawn in the page's text colour
    span = [row["num_examples"] for row in mean]
    for i, level in enumerate(levels):
        traces.append(_level(level, [min(span, default=1), max(span, default=1)], DASHES[i % len(DASHES)]))
    found = [*(row["value"] for row in records), *(level.value for level in levels)]
    low = math.floor(20 * min(found, default=0.5) - 0.2) / 20
    return new_figure(
        HEIGHT,
        traces,
        xaxis={"type": "log", "tickvals": span, "ticktext": [f"{size:,}" for size in span], "zeroline": False}
        | {"title": {"text": "calibration sentences a domain"}},
        yaxis={"range": [max(0.0, low), min(1.002, math.ceil(20 * max(found, default=1) + 0.2) / 20)]}
        | {"tickformat": ".0%", "zeroline": False},
    )


def _summarise(records: list[dict[Any, Any]]) -> list[dict[str, Any]]:
    """Mean, smallest and largest of the draws at each size, in order; a draw counts by the mean of its domains."""
    draws: dict[int, dict[int, list[float]]] = {}
    for row in records:
        draws.setdefault(row["num_examples"], {}).setdefault(row["draw"], []).append(row["value"])
    summary = []
    for size, found in sorted(draws.items()):
        means = [sum(values) / len(values) for values in found.values()]
        about = {"num_examples": size, "mean": sum(means) / len(means)}
        summary.append(about | {"min": min(means), "max": max(means), "count": len(means)})
    return summary


def _line(rows: list[dict[str, Any]], title: str, line: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [row["num_examples"] for row in rows],
        "y": [row["mean"] for row in rows],
        "customdata": [[row["min"], row["max"], row["count"]] for row in rows],
        "name": escape_text(title),
        "legendgroup": title,
        "line": line,
        "marker": {"size": 5},
        "hovertemplate": "%{x} sentences: %{y:.1%}, %{customdata[0]:.1%} to %{customdata[1]:.1%} "
        "in %{customdata[2]} draws<extra>%{fullData.name}</extra>",
    }


def _band(rows: list[dict[str, Any]], title: str, color: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [row["num_examples"] for row in rows + rows[::-1]],
        "y": [row["max"] for row in rows] + [row["min"] for row in rows[::-1]],
        "name": f"{escape_text(title)}, draws",
        "legendgroup": title,  # hidden with its line
        "showlegend": False,
        "hoverinfo": "skip",
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": color,
    }


def _level(level: Level, span: list[Any], dash: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": span,
        "y": [level.value] * 2,
        "name": escape_text(level.title),
        "line": {"dash": dash, "width": 1.5, "color": level.color},
        "hovertemplate": "%{fullData.name}: mean %{y:.1%}<extra></extra>",
    }
