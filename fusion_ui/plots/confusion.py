"""Confusion of one model on one domain: true labels down, answers across, counts in the cells, recall at the rows."""

from __future__ import annotations

from html import escape

from fusion_ui.evaluation.confusion import Confusion
from fusion_ui.plots.layers import LIGHT_TO_DARK
from fusion_ui.plots.style import CELL_INK, Figure, new_figure

ROW_HEIGHT, AXIS_HEIGHT, LEAST_HEIGHT = 56, 110, 220
LONGEST_LABEL = 18


def confusion_figure(confusion: Confusion | None) -> Figure:
    """A heat map coloured by the share of each true label, the counts in its cells; empty before there is one."""
    labels = confusion.label_names if confusion else ()
    places = list(range(len(labels)))
    counts = confusion.counts.tolist() if confusion else []
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    recalls = [confusion.recall(i) for i in places] if confusion else []
    shown = [_cut(label) for label in labels]  # plotly reads tags
    whole = [escape(label[:300], quote=False) for label in labels]
    trace = {
        "type": "heatmap",
        "x": places,
        "y": places,
        "z": shares,
        "text": [[f"{count:,}" for count in row] for row in counts],
        "texttemplate": "%{text}",
        "textfont": {"size": 13, "color": CELL_INK},
        "customdata": [[[truth, answer] for answer in whole] for truth in whole],
        "hovertemplate": "%{customdata[0]} answered as %{customdata[1]}: %{text} (%{z:.1%})<extra></extra>",
        "colorscale": [list(color) for color in LIGHT_TO_DARK],
        "zmin": 0.0,
        "zmax": 1.0,
        "showscale": False,  # the numbers stand in the cells
        "xgap": 2,
        "ygap": 2,
    }
    rows = [f"{label}<br>{_recall(recall)}" for label, recall in zip(shown, recalls, strict=True)]
    axis = {"tickvals": places, "showgrid": False, "zeroline": False, "automargin": True}
    return new_figure(
        max(LEAST_HEIGHT, AXIS_HEIGHT + ROW_HEIGHT * len(labels)),
        [trace] if confusion else [],
        xaxis=axis | {"ticktext": shown, "title": {"text": "answered", "standoff": 6}, "visible": bool(confusion)},
        yaxis=axis
        | {"ticktext": rows, "title": {"text": "true label"}, "autorange": "reversed", "visible": bool(confusion)},
    )


def _recall(recall: tuple[float, float, float] | None) -> str:
    if recall is None:
        return "no example"
    value, low, high = (f"{100 * part:.1f}" for part in recall)
    return f"recall {value} % [{low}, {high}]"


def _cut(label: str) -> str:
    return escape(label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…", quote=False)
