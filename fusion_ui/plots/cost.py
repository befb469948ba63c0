"""What several ways to one model score, against the seconds that each takes."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from fusion_ui.plots.style import Figure, escape_text, new_figure

HEIGHT = 380


def cost_figure(frame: pd.DataFrame, series: Mapping[str, str]) -> Figure:
    """A mark for every run, far left where it took little and high where it scores much.

    Args:
        frame: a row for each series and run, with the columns ``series``, ``run``, ``seconds`` and ``value``.
        series: series -> colour, in order.
    """
    traces = []
    for name, color in series.items():
        rows = frame[frame["series"] == name]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": escape_text(name),
                "x": rows["seconds"].tolist(),
                "y": rows["value"].tolist(),
                "customdata": [[run] for run in rows["run"]],
                "marker": {"color": color, "size": 11},
                "hovertemplate": "run %{customdata[0]}: %{y:.1%} after %{x:.3~g} s<extra>%{fullData.name}</extra>",
            }
        )
    return new_figure(
        HEIGHT,
        traces,
        xaxis={"type": "log", "title": {"text": "seconds"}, "zeroline": False},
        yaxis={"tickformat": ".0%", "zeroline": False},
    )
