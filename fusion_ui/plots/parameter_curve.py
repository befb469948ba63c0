"""Accuracy over every value of one parameter: one line a domain, a bold mean, a marker where the control stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fusion_ui.plots.style import SYMBOLS, Figure, domain_line, escape_text, fade, new_figure, value_axis
from fusion_ui.results.curve import MEAN
from fusion_ui.tasks import metric_scale
from fusion_ui.tasks.scales import Scale

HEIGHT = 400
BAND = 0.1
"""Opacity of an interval. Of several that overlap each can still be seen."""
FAINT = 0.4
"""Opacity of scores on the first few sentences."""
MEAN_BAND = "rgba(128,128,128,0.22)"
DASHES = ("dash", "dot", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True)
class Level:
    """A mean that does not depend on the parameter: a line to compare the bold one with."""

    title: str
    color: str
    value: float


def curve_figure(
    frame: pd.DataFrame,
    domains: dict[str, str],
    label: str,
    current: float,
    span: tuple[float, float],
    levels: Sequence[Level] = (),
    is_relative: bool = False,
) -> Figure:
    """Lines through the complete scores, with their 95 % intervals as bands, and faint points for the others.

    Args:
        frame: a table by `fusion_ui.results.curve.curve_table`; may be empty.
        domains: domain name -> title.
        label: the parameter's short name, for the axis.
        current: where the control stands.
        span: the parameter's range.
        is_relative: the scores are shares of each domain's own expert, and may exceed 1.
    """
    # Scores on few sentences and on all of them have no line in common: it would show the difference in sentences.
    records = frame.to_dict("records")
    rows, looks = (_rows_of([r for r in records if bool(r["is_complete"]) == done], domains) for done in (True, False))
    traces = []
    for i, (name, title) in enumerate(domains.items()):
        color, symbol, dash = domain_line(i)
        traces.append(_band(rows[name], escape_text(title), fade(color, BAND)))
        line = {"color": color, "width": 1.5, "dash": dash}
        traces.append(_line(rows[name], escape_text(title), label, line, symbol))
        traces.append(_look(looks[name], escape_text(title), label, {"color": color}, symbol))
    traces.append(_band(rows[MEAN], "mean", MEAN_BAND))
    # "ink" is drawn in the page's text colour.
    traces.append(_line(rows[MEAN], "mean", label, {"width": 4}) | {"meta": "ink", "mode": "lines"})
    traces.append(_look(looks[MEAN], "mean", label, {"width": 4}) | {"meta": "ink"})
    scale = metric_scale(*frame["metric"])
    traces += [_level(level, scale, span, DASHES[i % len(DASHES)]) for i, level in enumerate(levels)]
    padding = 0.02 * (span[1] - span[0])
    marker = {"type": "line", "x0": current, "x1": current, "y0": 0, "y1": 1, "yref": "paper"}
    return new_figure(
        HEIGHT,
        traces,
        xaxis={"range": [span[0] - padding, span[1] + padding], "title": {"text": label}, "zeroline": False},
        yaxis=_value_axis(frame, levels, is_relative),
        shapes=[marker | {"line": {"dash": "dot", "width": 2, "color": "#4c6ef5"}}],
    )


def _rows_of(records: list[dict[Any, Any]], domains: dict[str, str]) -> dict[str, list[dict[Any, Any]]]:
    rows: dict[str, list[dict[Any, Any]]] = {name: [] for name in (*domains, MEAN)}
    for row in records:
        rows[row["domain"]].append(row)
    return rows


def _value_axis(frame: pd.DataFrame, levels: Sequence[Level], is_relative: bool) -> dict[str, Any]:
    """In steps, so that the axis does not move with every new point; never beyond what a score can be."""
    exact = frame[frame["is_complete"].astype(bool)]  # those of the first look are not drawn
    found = [*frame["value"], *exact["low"], *exact["high"], *(level.value for level in levels)]
    scale = metric_scale(*frame["metric"])
    low, high = (min(found), max(found)) if found else (0.5, 1.0)
    if scale.most is None:
        return value_axis(scale, low, high)
    most, least = math.inf if is_relative else scale.most + 0.002, math.floor(20 * low - 0.2) / 20
    ends = [least if low < 0 else max(0.0, least), min(most, math.ceil(20 * high + 0.2) / 20)]
    return {"tickformat": scale.ticks, "zeroline": False, "range": ends}


def _line(
    rows: list[dict[Any, Any]], name: str, label: str, line: dict[str, Any], symbol: str = SYMBOLS[0]
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [row["parameter"] for row in rows],
        "y": [row["value"] for row in rows],
        "customdata": [
            [*(metric_scale(row["metric"]).show(row[key]) for key in ("value", "low", "high")), row["num_examples"]]
            for row in rows
        ],
        "name": name,
        "legendgroup": name,
        "mode": "lines+markers",
        "line": line,
        "marker": {"size": 5, "symbol": symbol},
        "hovertemplate": f"{label} %{{x:.2f}}: %{{customdata[0]}}, 95 % interval %{{customdata[1]}} to "
        "%{customdata[2]}<br>%{customdata[3]} sentences, select split<extra>%{fullData.name}</extra>",
    }


def _look(
    rows: list[dict[Any, Any]], name: str, label: str, line: dict[str, Any], symbol: str = SYMBOLS[0]
) -> dict[str, Any]:
    """Scores on the first few sentences: faint points."""
    return _line(rows, name, label, line, symbol) | {"mode": "markers", "opacity": FAINT, "showlegend": False}


def _band(rows: list[dict[Any, Any]], name: str, color: str) -> dict[str, Any]:
    back = rows[::-1]
    return {
        "type": "scatter",
        "x": [row["parameter"] for row in rows + back],
        "y": [row["high"] for row in rows] + [row["low"] for row in back],
        "name": f"{name}, interval",
        "legendgroup": name,  # hidden with its line
        "showlegend": False,
        "hoverinfo": "skip",
        "mode": "lines",
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": color,
    }


def _level(level: Level, scale: Scale, span: tuple[float, float], dash: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": list(span),
        "y": [level.value] * 2,
        "mode": "lines",
        "name": escape_text(level.title),
        "line": {"dash": dash, "width": 1.5, "color": level.color},
        "hovertemplate": f"%{{fullData.name}}: mean {scale.show(level.value)}, select split<extra></extra>",
    }
