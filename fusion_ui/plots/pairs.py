"""Every two experts merged: a symmetric heat map of what that changes, expert by expert."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd

from fusion_ui.plots.layers import ACROSS_ZERO, LIGHT_TO_DARK
from fusion_ui.plots.style import CELL_INK, Figure, new_figure
from fusion_ui.tasks import metric_scale

QUANTITIES = {
    "better": "against the better expert",
    "worse": "against the worse expert",
    "score": "score itself",
}
PLACES = {"own": "their own domains", "others": "all other domains"}
ROW_HEIGHT, LEAST_HEIGHT = 52, 260
LEAST_SPAN = 0.02
"""Of a change: smaller ones than this do not get the strongest colours."""


def pairs_figure(frame: pd.DataFrame, experts: Mapping[str, str], quantity: str, place: str) -> Figure:
    """The number of every pair that is known in both of its cells; changes are coloured by their distance from 0.

    A change whose interval leaves 0 out is bold.

    Args:
        frame: a table by `fusion_ui.results.experiments.pair_table`; may be empty.
        experts: expert name -> title, in the order of rows and columns.
        quantity: one of `QUANTITIES`.
        place: one of `PLACES`.
    """
    number = {name: i for i, name in enumerate(experts)}
    values, texts, hovers = (_square(len(experts)) for _ in range(3))
    rows = [row for row in frame.to_dict(orient="records") if row["where"] == place]
    for row in rows:
        i, j = number[row["first"]], number[row["second"]]
        for a, b in ((i, j), (j, i)):
            values[a][b], texts[a][b] = row[quantity], _cell(row, quantity)
            hovers[a][b] = _hover(row, experts, quantity, place)
    found = [row[quantity] for row in rows]
    is_change = quantity != "score"
    scale, low = metric_scale(*(row["metric"] for row in rows)), min(found, default=0.9)
    most = max([LEAST_SPAN, *map(abs, found)])
    trace: dict[str, Any] = {
        "type": "heatmap",
        "x": list(number.values()),
        "y": list(number.values()),
        "z": values,
        "text": [[text or "" for text in row] for row in texts],
        "texttemplate": "%{text}",
        "textfont": {"size": 12, "color": CELL_INK},
        "customdata": hovers,
        "hovertemplate": "%{customdata}<extra></extra>",
        "hoverongaps": False,
        "colorscale": [list(color) for color in (ACROSS_ZERO if is_change else LIGHT_TO_DARK)],
        "zmin": -most if is_change else 0.9 * low,
        "zmax": most if is_change else scale.most or max(found, default=1.0),
        "showscale": False,  # the numbers stand in the cells
        "xgap": 2,
        "ygap": 2,
    }
    titles = [escape(title[:24], quote=False) for title in experts.values()]  # plotly reads tags
    axis: dict[str, Any] = {"tickvals": list(number.values()), "ticktext": titles, "showgrid": False, "zeroline": False}
    axis |= {"range": [-0.5, len(experts) - 0.5], "automargin": True}
    return new_figure(
        max(LEAST_HEIGHT, 80 + ROW_HEIGHT * len(experts)),
        [trace],
        xaxis=axis | {"ticktext": [title.replace(" ", "<br>") for title in titles], "autotickangles": [0, -60]},
        yaxis=axis | {"range": axis["range"][::-1]},
    )


def _square(size: int) -> list[list[Any]]:
    return [[None] * size for _ in range(size)]


def _cell(row: dict[Any, Any], quantity: str) -> str:
    if quantity == "score":
        return metric_scale(row["metric"]).write(row[quantity])
    text = metric_scale(row["metric"]).write_change(row[quantity])
    return f"<b>{text}</b>" if _is_clear(row, quantity) else text


def _hover(row: dict[Any, Any], experts: Mapping[str, str], quantity: str, place: str) -> str:
    scale, ends = metric_scale(row["metric"]), [row[f"{quantity}{end}"] for end in ("_low", "_high")]
    if quantity == "score":
        about = f"score {scale.show(row[quantity])}, 95 % interval {' to '.join(map(scale.write, ends))}"
    else:
        about = f"{scale.write_change(row[quantity])}{scale.unit} {QUANTITIES[quantity]}, "
        about += f"paired 95 % interval {' to '.join(map(scale.write_change, ends))}"
        about += "" if _is_clear(row, quantity) else ": no clear difference"
    lines = [about, f"on {PLACES[place]}, {row['num_examples']:,} sentences, {row['split']} split", *row["detail"]]
    pair = escape(f"{experts[row['first']]} + {experts[row['second']]}", quote=False)
    return "<br>".join([f"<b>{pair}</b>", *(escape(line, quote=False) for line in lines)])


def _is_clear(row: dict[Any, Any], quantity: str) -> bool:
    return row[f"{quantity}_low"] > 0 or row[f"{quantity}_high"] < 0
