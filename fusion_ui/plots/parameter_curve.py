"""Accuracy over every value of one parameter: one line a domain, a bold mean, a marker where the control stands."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import pandas as pd

from fusion_ui.plots.style import DOMAIN_COLORS, Figure, escape_text, new_figure

HEIGHT = 380


def curve_figure(
    frame: pd.DataFrame, domains: dict[str, str], label: str, current: float, span: tuple[float, float]
) -> Figure:
    """Lines through the values computed so far.

    Args:
        frame: columns ``parameter, domain, value``; may be empty.
        domains: domain name -> title.
        label: the parameter's short name, for the axis.
        current: where the control stands.
        span: the parameter's range.
    """
    rows = sorted(frame[["parameter", "domain", "value"]].itertuples(index=False, name=None))
    traces = []
    for i, (name, title) in enumerate(domains.items()):
        points = [(p, v) for p, d, v in rows if d == name]
        line = {"color": DOMAIN_COLORS[i % len(DOMAIN_COLORS)], "width": 1.5}
        traces.append(_line(points, escape_text(title), label, line))
    values_at: dict[float, list[float]] = {}
    for parameter, _, value in rows:
        values_at.setdefault(parameter, []).append(value)
    means = [(parameter, fmean(values)) for parameter, values in values_at.items()]
    # "ink" is drawn in the page's text colour.
    traces.append(_line(means, "mean", label, {"width": 4}) | {"meta": "ink"})
    padding = 0.02 * (span[1] - span[0])
    low, high = (0.5, 1.0) if frame.empty else (float(min(frame["value"])), float(max(frame["value"])))
    # In steps, so that the axis does not move with every new point; never beyond what an accuracy can be.
    values = {"range": [max(0.0, math.floor(20 * low - 0.2) / 20), min(1.002, math.ceil(20 * high + 0.2) / 20)]}
    marker = {"type": "line", "x0": current, "x1": current, "y0": 0, "y1": 1, "yref": "paper"}
    return new_figure(
        HEIGHT,
        traces,
        xaxis={"range": [span[0] - padding, span[1] + padding], "title": {"text": label}, "zeroline": False},
        yaxis={"tickformat": ".0%", "zeroline": False} | values,
        shapes=[marker | {"line": {"dash": "dot", "width": 2, "color": "#4c6ef5"}}],
    )


def _line(points: list[tuple[float, float]], name: str, label: str, line: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "name": name,
        "mode": "lines" if name == "mean" else "lines+markers",
        "line": line,
        "marker": {"size": 5},
        "hovertemplate": f"{label} %{{x:.2f}}: %{{y:.1%}}<extra>%{{fullData.name}}</extra>",
    }
