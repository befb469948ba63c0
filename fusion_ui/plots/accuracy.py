"""Scores by domain: one group a domain, one colour a method, with intervals and reference marks."""

from __future__ import annotations

from typing import Any

import pandas as pd

from fusion_ui.plots.style import MARGIN, PATTERNS, SYMBOLS, Figure, escape_text, fade, new_figure, value_axis
from fusion_ui.tasks import metric_scale, metric_title
from fusion_ui.tasks.scales import Scale

LINES = {"own expert": "dot", "multi-task": "dash", "majority": "dashdot", "chance": "longdash"}
HEIGHT = 470


def accuracy_figure(
    frame: pd.DataFrame, domains: dict[str, str], stale: frozenset[str] = frozenset(), is_from_zero: bool = False
) -> Figure:
    """Points with intervals on a cut axis, or bars from zero.

    Args:
        frame: a tidy table; candidates named in `LINES` are drawn as lines across each group, others as marks.
        domains: domain name -> title, in the order of the groups.
        stale: candidates whose numbers belong to settings no longer shown; drawn faint.
    """
    positions = {name: i for i, name in enumerate(domains)}
    rows_of = {name: rows.to_dict("records") for name, rows in frame.groupby("candidate", sort=False)}
    marks = [name for name in rows_of if name not in LINES]
    traces = [_line(rows_of[name], positions, LINES[name]) for name in LINES if name in rows_of]
    for i, name in enumerate(marks):
        offset = 0.62 * ((i + 0.5) / len(marks) - 0.5)
        trace = _marks(rows_of[name], positions, offset, name in stale, is_from_zero)
        traces.append(trace | (_bar(trace, i, 0.55 / len(marks)) if is_from_zero else _point(trace, rows_of[name], i)))
    out = set(frame.loc[frame["role"] == "out-of-domain", "domain"])
    notes = {name: "<br><i>out of domain</i>" if name in out else "" for name in domains}
    metrics = {row["domain"]: metric_title(row["metric"]) for row in frame.to_dict("records")}
    is_one_metric = len(set(metrics.values())) == 1
    if not is_one_metric:
        notes = {
            name: f"<br>{escape_text(metrics[name])}{note}" if name in metrics else note for name, note in notes.items()
        }
    low, high = (float(min(frame["low"])), float(max(frame["high"]))) if len(frame) else (None, None)
    values = value_axis(metric_scale(*frame["metric"]), low, high, is_from_zero)
    return new_figure(
        HEIGHT,
        traces,
        xaxis={
            "tickvals": list(positions.values()),
            "ticktext": [escape_text(title).replace(" ", "<br>") + notes[name] for name, title in domains.items()],
            "range": [-0.5, len(domains) - 0.5],
            "showgrid": False,
            "zeroline": False,
            "tickangle": 0,
        },
        yaxis=values
        | (
            {"title": {"text": next(iter(metrics.values())), "standoff": 8}, "automargin": True}
            if is_one_metric
            else {}
        ),
        margin=MARGIN | {"b": 62},  # room for three lines, so that nothing moves when a domain is out
    )


def _marks(
    rows: list[dict[Any, Any]], positions: dict[str, int], offset: float, is_stale: bool, is_bar: bool
) -> dict[str, Any]:
    first = rows[0]
    color = fade(first["color"], 0.3 if is_stale else 1.0)
    return {
        "name": escape_text(first["title"]),
        "x": [positions[row["domain"]] + offset for row in rows],
        "y": [row["value"] for row in rows],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [row["high"] - row["value"] for row in rows],
            "arrayminus": [row["value"] - row["low"] for row in rows],
            "thickness": 2,
            "width": 0,
            "color": "rgba(128,128,128,0.8)" if is_bar else color,
        },
        "customdata": [
            [
                escape_text(row["domain"]),
                _count(row),
                *(_scale(row).show(row[end]) for end in ("low", "high")),
                escape_text(row["split"]),
                metric_title(row["metric"]),
                _scale(row).show(row["value"]),
            ]
            for row in rows
        ],
        "hovertemplate": "<b>%{fullData.name}</b><br>%{customdata[0]}, %{customdata[4]} split: %{customdata[5]} "
        "%{customdata[6]}<br>95 % interval %{customdata[2]} to %{customdata[3]}<br>%{customdata[1]}<extra></extra>",
        "marker": {"color": color},
    }


def _point(trace: dict[str, Any], rows: list[dict[Any, Any]], number: int) -> dict[str, Any]:
    """A mark of its own shape; hollow for what is no merge."""
    symbol = SYMBOLS[number % len(SYMBOLS)] + ("-open" if rows[0]["is_reference"] else "")
    return {"type": "scatter", "mode": "markers", "marker": trace["marker"] | {"size": 10, "symbol": symbol}}


def _bar(trace: dict[str, Any], number: int, width: float) -> dict[str, Any]:
    pattern = {"shape": PATTERNS[number % len(PATTERNS)], "size": 6, "solidity": 0.25}
    return {"type": "bar", "width": width, "marker": trace["marker"] | {"pattern": pattern}}


def _count(row: dict[Any, Any]) -> str:
    """How many examples were answered, and right where an answer is right or wrong."""
    num_right, answered, total = row["num_correct"], row["num_examples"], row["num_total"]
    if num_right is None or num_right != num_right:  # which a table of numbers makes of None
        return f"{answered:,} of {total:,} sentences"
    return f"{num_right:.0f} of {answered} right ({total} in all)"


def _line(rows: list[dict[Any, Any]], positions: dict[str, int], dash: str) -> dict[str, Any]:
    x: list[float | None] = []
    y: list[float | None] = []
    said: list[str | None] = []
    for row in rows:
        x += [positions[row["domain"]] - 0.42, positions[row["domain"]] + 0.42, None]
        y += [row["value"], row["value"], None]
        said += [_scale(row).show(row["value"])] * 2 + [None]
    return {
        "type": "scatter",
        "x": x,
        "y": y,
        "mode": "lines",
        "name": escape_text(rows[0]["title"]),
        "line": {"dash": dash, "width": 1.5, "color": rows[0]["color"]},
        "customdata": said,
        "hovertemplate": "%{fullData.name}: %{customdata}<extra></extra>",
    }


def _scale(row: dict[Any, Any]) -> Scale:
    return metric_scale(row["metric"])
