"""Two experts' least squares over two weights: where the mean lies between their valleys, and where RegMean goes."""

from __future__ import annotations

import html
import math
from typing import Any

from fusion_ui.merging.two_features import Point, TwoFeatures
from fusion_ui.plots.style import DOMAIN_COLORS, Figure, new_figure

HEIGHT = 420
LEVELS = (0.04, 0.25, 1.0)
"""Contours, as shares of the expert's error at the simple mean: the last goes through it."""
NUM_STEPS = 40
MARGIN = 0.35
"""Around the points, as a share of what they span."""
MEAN_COLOR, REGMEAN_COLOR = "#7f8797", "#4c6ef5"
SHAPES = (("solid", "circle"), ("dash", "star"))
"""Of each expert's contours and of its point."""


def two_features_figure(picture: TwoFeatures | None, alpha: float) -> Figure:
    """Ellipses of equal error around each expert, the mean, and RegMean from alpha 0 to 1; empty without a picture."""
    if picture is None:
        return new_figure(HEIGHT, [], xaxis={"visible": False}, yaxis={"visible": False})
    path = [picture.solve(i / NUM_STEPS) for i in range(NUM_STEPS + 1)]
    points = [*picture.points, picture.mean, *path]
    traces: list[dict[str, Any]] = []
    for i, name in enumerate(picture.experts):
        color, title, (dash, symbol) = DOMAIN_COLORS[i], html.escape(name[:40], quote=False), SHAPES[i]
        at_mean = picture.error(i, picture.mean)
        for level in LEVELS:
            traces.append(_ellipse(picture, i, level * at_mean, {"color": color, "dash": dash}, title))
        traces.append(_point(picture.points[i], title, color, symbol, 12))
    traces.append(_point(picture.mean, "Simple mean", MEAN_COLOR, "square", 11))
    traces.append(
        {
            "type": "scatter",
            "x": [x for x, _ in path],
            "y": [y for _, y in path],
            "mode": "lines",
            "name": "RegMean, α from 0 to 1",
            "line": {"color": REGMEAN_COLOR, "width": 2},
            "hoverinfo": "skip",
        }
    )
    ends = ((0.0, "α = 0", "triangle-up"), (1.0, "α = 1", "triangle-down"))
    traces += [_point(picture.solve(value), title, REGMEAN_COLOR, symbol, 10) for value, title, symbol in ends]
    traces.append(_point(picture.solve(alpha), f"RegMean α={alpha:g}", REGMEAN_COLOR, "diamond", 14))
    titles = (f"weight of input {feature}" for feature in picture.features)
    axes = {
        axis: {"title": {"text": title}, "range": _span([point[k] for point in points]), "zeroline": False}
        | {"automargin": True}
        for k, (axis, title) in enumerate(zip(("xaxis", "yaxis"), titles, strict=True))
    }
    return new_figure(HEIGHT, traces, **axes)


def _ellipse(picture: TwoFeatures, expert: int, error: float, line: dict[str, Any], name: str) -> dict[str, Any]:
    """All points with one error: w_i + sqrt(error) L^-T (cos t, sin t) with Gbar_i = L L^T."""
    (a, b), (_, c) = picture.grams[expert]
    left = math.sqrt(max(a, 1e-30))
    low = math.sqrt(max(c - (b / left) ** 2, 1e-9 * max(c, 1e-30)))  # a valley without an end is drawn very long
    x0, y0 = picture.points[expert]
    xs, ys = [], []
    for step in range(121):
        angle = 2 * math.pi * step / 120
        v = math.sqrt(error) * math.sin(angle) / low
        u = (math.sqrt(error) * math.cos(angle) - b / left * v) / left
        xs.append(x0 + u)
        ys.append(y0 + v)
    return {
        "type": "scatter",
        "x": xs,
        "y": ys,
        "mode": "lines",
        "name": name,
        "legendgroup": name,
        "showlegend": False,
        "line": line | {"width": 1},
        "hovertemplate": f"error {error:.2g}<extra>%{{fullData.name}}</extra>",
    }


def _point(point: Point, name: str, color: str, symbol: str, size: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [point[0]],
        "y": [point[1]],
        "mode": "markers",
        "name": name,
        "legendgroup": name,
        "marker": {"color": color, "symbol": symbol, "size": size},
        "hovertemplate": "%{x:.4f}, %{y:.4f}<extra>%{fullData.name}</extra>",
    }


def _span(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    room = MARGIN * (high - low) or 1e-6
    return [low - room, high + room]
