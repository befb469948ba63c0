"""Experts added one by one: one line a domain, bold means, and each domain's own expert as a dotted line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from fusion_ui.evaluation.combined import ENSEMBLE_COLOR
from fusion_ui.plots.style import MARGIN, Figure, domain_line, fade, new_figure, value_axis
from fusion_ui.tasks import metric_scale

HEIGHT = 400
APART = 0.025
MEANS = {"own so far": ("mean so far", "solid", 4), "all": ("mean of all", "dash", 2.5)}


def growth_figure(frame: pd.DataFrame, domains: Mapping[str, str], order: Sequence[str]) -> Figure:
    """Accuracy after every expert. A domain's point is hollow until its own expert takes part.

    Args:
        frame: a table by `fusion_ui.results.experiments.growth_table`; may be empty.
        domains: domain name -> title.
        order: titles of the experts in the order in which they are added.
    """
    rows: dict[tuple[str, str], list[dict[Any, Any]]] = {}
    for row in frame.sort_values("num_experts", kind="stable").to_dict(orient="records"):
        rows.setdefault((row["series"], row["domain"]), []).append(row)
    traces, span = [], [0.7, len(order) + 0.3]
    for i, (name, title) in enumerate(domains.items()):
        color, symbol, dash = domain_line(i)
        points = rows.get(("domain", name), [])
        trace = _line(points, escape(title[:40], quote=False), {"color": color, "width": 1.5, "dash": dash})
        symbols = [symbol if row["role"] == "in-domain" else f"{symbol}-open" for row in points]
        # A little apart, so that no interval hides another.
        trace["x"] = [x + APART * (i - (len(domains) - 1) / 2) for x in trace["x"]]
        trace |= {"marker": {"size": 8, "symbol": symbols}, "legendgroup": name}
        trace["error_y"] |= {"thickness": 1.5, "color": fade(color, 0.75)}
        traces.append(trace)
        for own in rows.get(("own expert", name), ()):
            traces.append(_own_line(own, trace, span))
    for series, (title, dash, width) in MEANS.items():
        # "ink" is drawn in the page's text colour.
        traces.append(_line(rows.get((series, ""), []), title, {"width": width, "dash": dash}) | {"meta": "ink"})
    if ensemble := rows.get(("ensemble", "")):
        traces.append(_line(ensemble, "ensemble so far", {"color": ENSEMBLE_COLOR, "width": 2, "dash": "dashdot"}))
    low, high = (None, None) if frame.empty else (float(min(frame["low"])), float(max(frame["high"])))
    values = value_axis(metric_scale(*frame["metric"]), low, high)
    names = [escape(title[:24], quote=False) for title in order]
    ticks = {"tickvals": list(range(1, len(order) + 1)), "ticktext": [*names[:1], *(f"+ {n}" for n in names[1:])]}
    return new_figure(
        HEIGHT,
        traces,
        xaxis={"range": span, "showgrid": False, "zeroline": False, "automargin": True, "autotickangles": [0, -60]}
        | ticks,
        yaxis=values,
        margin=MARGIN | {"b": 56},
    )


def _line(rows: list[dict[Any, Any]], name: str, line: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [row["num_experts"] for row in rows],
        "y": [row["value"] for row in rows],
        "name": name,
        "line": line,
        "marker": {"size": 6},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [row["high"] - row["value"] for row in rows],
            "arrayminus": [row["value"] - row["low"] for row in rows],
            "thickness": 1.5,
            "width": 0,
        },
        "customdata": [_say(row) for row in rows],
        "hovertemplate": "%{customdata[4]}, 95 % interval %{customdata[0]} to %{customdata[1]}"
        "<br>%{customdata[2]:,} sentences, %{customdata[3]} split<extra>%{fullData.name}</extra>",
    }


def _own_line(row: dict[Any, Any], of: dict[str, Any], span: list[float]) -> dict[str, Any]:
    """Across the whole figure, so that it can be seen how far a domain has to go before its expert is added."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": span,
        "y": [row["value"]] * 2,
        "name": f"{of['name']}, own expert",
        "legendgroup": of["legendgroup"],
        "showlegend": False,
        "line": {"color": of["line"]["color"], "width": 1, "dash": "dot"},
        "hovertemplate": f"{metric_scale(row['metric']).show(row['value'])}<extra>%{{fullData.name}}</extra>",
    }


def _say(row: dict[Any, Any]) -> list[Any]:
    low, high, value = (metric_scale(row["metric"]).show(row[key]) for key in ("low", "high", "value"))
    return [low, high, row["num_examples"], row["split"], value]
