"""A number for every weight matrix of a merge: one row a layer, one column what the matrix is for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from fusion_ui.plots.style import CELL_INK, Figure, escape_text, new_figure

ROW_HEIGHT, LEAST_HEIGHT = 24, 240
# Told apart by lightness, and across zero by hue as well, by colour-blind eyes too; light enough for dark numbers.
LIGHT_TO_DARK = ((0.0, "#f4f6ff"), (0.5, "#b3c1fa"), (1.0, "#7688ee"))
ACROSS_ZERO = ((0.0, "#dd7a2c"), (0.5, "#f6f6f8"), (1.0, "#7688ee"))


@dataclass(frozen=True)
class Quantity:
    """A column of the layer table, as the figure draws it.

    Attributes:
        title: what people call it.
        format: of a cell's number, short enough for a column on a phone.
        colors: from the lower end of `span` to the upper.
        span: numbers that get the first and last colour; None for the largest there is.
        is_logarithmic: coloured by its power of ten.
        least: the number that gets the last colour is no smaller.
    """

    title: str
    format: str
    colors: tuple[tuple[float, str], ...] = LIGHT_TO_DARK
    span: tuple[float, float | None] = (0.0, None)
    is_logarithmic: bool = False
    least: float = 1.0


QUANTITIES = {
    "moved": Quantity("distance from the mean (1: as far as the experts are)", ".1f"),
    "nearest_expert": Quantity("distance from the nearest expert (1: as far as the base or mean is)", ".1f"),
    "condition_after": Quantity("condition number that was solved for", ".0e", is_logarithmic=True),
    "cosine": Quantity("cosine between every two experts' changes", ".2f", ACROSS_ZERO, (-1.0, 1.0)),
    "apart": Quantity("distance between every two experts, of the weight's size", ".0%", least=0.01),
    "opposed": Quantity("entries that two experts changed in opposite directions", ".0%", span=(0.0, 1.0)),
}


def layers_figure(frame: pd.DataFrame, quantity: str) -> Figure:
    """A heat map of the matrices within layers and in the head, with the number in every cell.

    Args:
        frame: a table by `fusion_ui.results.layers.layer_table`; may be empty.
        quantity: one of `QUANTITIES`.
    """
    about = QUANTITIES[quantity]
    # Matrices outside of layers, embeddings above all, have no column in common with any other.
    records = [row for row in frame.to_dict(orient="records") if row["is_matrix"]]
    shown = [row for row in records if row["group"] == "head" or not math.isnan(row["layer"])]
    has_stacks = len({row["stack"] for row in shown if not math.isnan(row["layer"])}) > 1
    cells: dict[tuple[str, str], list[float]] = {}
    for row in shown:
        place = "head" if math.isnan(row["layer"]) else f"{row['stack'] if has_stacks else 'layer'} {row['layer']:.0f}"
        value = row[quantity]
        numbers = cells.setdefault((escape_text(place), escape_text(row["kind"] or "other")), [])
        numbers += [] if value is None or math.isnan(value) else [value]
    rows, columns = ([*dict.fromkeys(place[i] for place in cells)] for i in (0, 1))
    # Of several matrices in one place, as in an architecture whose names say little, the largest shows.
    values = [[max(cells.get((row, column), ()), default=None) for column in columns] for row in rows]
    colored = [[v if v is None or not about.is_logarithmic else math.log10(v) for v in row] for row in values]
    low, high = about.span
    found = [v for row in colored for v in row if v is not None]
    trace = {
        "type": "heatmap",
        "x": columns,
        "y": rows,
        "z": colored,
        "text": [["" if v is None else f"{v:{about.format}}".replace("e+0", "e") for v in row] for row in values],
        "texttemplate": "%{text}",
        "textfont": {"size": 10, "color": CELL_INK},
        "customdata": values,
        "hovertemplate": f"%{{y}}, %{{x}}<br>{about.title}: %{{customdata:.3g}}<extra></extra>",
        "hoverongaps": False,
        "colorscale": [list(color) for color in about.colors],
        "zmin": low,
        "zmax": max([about.least, *found]) if high is None else high,
        "showscale": False,  # the numbers stand in the cells
        "xgap": 1,
        "ygap": 1,
    }
    return new_figure(
        max(LEAST_HEIGHT, 110 + ROW_HEIGHT * len(rows)),
        [trace],
        xaxis={"type": "category", "autotickangles": [0, -50], "showgrid": False, "automargin": True},
        yaxis={"type": "category", "autorange": "reversed", "showgrid": False, "automargin": True},
    )
