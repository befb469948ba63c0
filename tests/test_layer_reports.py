"""The table of a doctor's reports and its heat map."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from fusion_ui.merging.groups import group_of, kind_of
from fusion_ui.merging.interference import Interference
from fusion_ui.merging.layer_report import LayerReport
from fusion_ui.merging.layers import layer_of
from fusion_ui.merging.movement import Movement
from fusion_ui.plots.interference import interference_figure
from fusion_ui.plots.layers import QUANTITIES, layers_figure
from fusion_ui.results.interference import PAIR_NUMBERS, pair_table
from fusion_ui.results.layers import COLUMNS, layer_table
from fusion_ui.solving.conditioning import Conditioning

LAYER = "bert.encoder.layer.{}"


def report(name: str, moved: float | None, *, condition: float | None = None, **change: Any) -> LayerReport:
    movement, effect = Movement(9.0, (9.0, None)), Movement(moved, (moved, None))
    between = Interference(((4.0, 1.0), (1.0, 1.0)), ((8.0, 8.0), (8.0, 8.0)), ((0.0, 2.0), (2.0, 0.0)), 12.0, True)
    about = {"group": group_of(name), "layer": layer_of(name), "kind": kind_of(name), "shape": (4, 4)}
    solved = Conditioning(None, condition, 0.1) if condition else None
    values = {"path": "eigen", "reason": "", "alpha": 0.9, "width": 4, "num_rows": (8, 6), "num_dead": 0, "num_cut": 2}
    values |= {
        "conditioning": solved,
        "movement": movement,
        "effect": effect,
        "interference": between,
        "attention": ("look", "here"),
    }
    return LayerReport(name=name, **about | values | change)


REPORTS = [
    report("bert.embeddings.word_embeddings.weight", 1.0),
    *(report(f"{LAYER.format(i)}.attention.self.query.weight", 0.5 + i, condition=100.0) for i in range(2)),
    report(f"{LAYER.format(0)}.attention.self.query.bias", None, shape=(4,), effect=None, num_rows=(), width=0),
    report(f"{LAYER.format(1)}.output.dense.weight", 2.0, condition=2e5),
    report("classifier.weight", None),
]


def test_the_table_says_what_the_reports_say():
    frame = layer_table(REPORTS)
    assert list(frame.columns) == COLUMNS and len(frame) == len(REPORTS)
    row = frame.iloc[1]
    assert (row["layer"], row["rows"], row["width"], row["num_cut"], row["stack"]) == (0, 6, 4, 2, "encoder")
    assert (row["moved"], row["nearest_expert"], row["cosine"]) == (0.5, 0.5, 0.5)
    assert (row["apart"], row["opposed"]) == (0.5, 0.25)
    assert math.isnan(row["condition_before"]) and (row["condition_after"], row["smallest_eigenvalue"]) == (100, 0.1)
    assert row["attention"] == "look. here"
    bias = frame.iloc[3]
    assert not bias["is_matrix"] and bias["moved"] == 9.0 and math.isnan(bias["rows"])
    assert layer_table([]).empty and list(layer_table([]).columns) == COLUMNS


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_every_figure_is_valid_and_readable_on_a_phone(quantity: str):
    figure = layers_figure(layer_table(REPORTS), quantity)
    go.Figure(figure)
    (trace,) = figure["data"]
    assert trace["x"] == ["query", "ffn out", "classifier"] and trace["y"] == ["layer 0", "layer 1", "head"]
    assert max(len(cell) for row in trace["text"] for cell in row) <= 5
    assert "width" not in figure["layout"]  # as wide as the page lets it be
    assert [len(row) for row in trace["z"]] == [3] * 3


def test_a_cell_holds_its_matrixs_number():
    (moved,) = layers_figure(layer_table(REPORTS), "moved")["data"]
    assert moved["z"] == [[0.5, None, None], [1.5, 2.0, None], [None, None, None]]
    assert (moved["zmin"], moved["zmax"]) == (0, 2.0)
    (condition,) = layers_figure(layer_table(REPORTS), "condition_after")["data"]
    assert condition["z"][1] == [pytest.approx(2), pytest.approx(math.log10(2e5)), None]
    assert condition["text"][1] == ["1e2", "2e5", ""] and condition["customdata"][1] == [100.0, 2e5, None]
    (cosine,) = layers_figure(layer_table(REPORTS), "cosine")["data"]
    assert (cosine["zmin"], cosine["zmax"]) == (-1, 1)


def test_two_stacks_have_rows_of_their_own():
    names = [f"transformer.{stack}.block.0.layer.0.SelfAttention.q.weight" for stack in ("encoder", "decoder")]
    (trace,) = layers_figure(layer_table([report(name, 1.0 + i) for i, name in enumerate(names)]), "moved")["data"]
    assert trace["y"] == ["encoder 0", "decoder 0"] and trace["z"] == [[1.0], [2.0]]


def test_the_table_of_pairs_adds_up_places_and_the_whole():
    other = Interference(((1.0, -1.0), (-1.0, 4.0)), ((4.0, 4.0), (4.0, 4.0)), ((0.0, 4.0), (4.0, 0.0)), 4.0, True)
    unlike = Interference(((1.0, 1.0), (1.0, 1.0)), ((1.0, 1.0), (1.0, 1.0)), ((0.0, 0.0), (0.0, 0.0)), 1.0, False)
    reports = [*REPORTS, report(f"{LAYER.format(0)}.output.dense.weight", 1.0, interference=other)]
    reports += [report("classifier.bias", 1.0, interference=unlike, shape=(4,))]  # a base without this head
    frame = pair_table(reports, ["<b>a</b>", "b"])
    assert list(frame["place"]) == ["embeddings", "layer 0", "layer 1", "head", "whole model"]
    row = frame.set_index("place").loc["layer 0"]  # a query, its bias and a dense weight
    assert row["cosine"] == pytest.approx((1 + 1 - 1) / math.sqrt((4 + 4 + 1) * (1 + 1 + 4)))
    assert row["apart"] == pytest.approx(math.sqrt((9 + 6 - 2 * 1) / (12 + 12 + 4)))
    assert row["opposed"] == pytest.approx((2 + 2 + 4) / (8 + 8 + 4))
    head = frame.set_index("place").loc["head"]
    assert head["opposed"] == 0.25, "changes from a mean were added to changes from a base"
    for quantity in PAIR_NUMBERS:
        figure = interference_figure(frame, quantity)
        go.Figure(figure)
        assert figure["data"][0]["x"] == ["&lt;b&gt;a&lt;/b&gt; · b"] and len(figure["data"][0]["z"]) == 5
    go.Figure(interference_figure(pair_table([], []), "cosine"))


def test_nothing_to_show_is_an_empty_figure():
    for frame in (layer_table([]), layer_table([report("scale", 1.0, shape=())]), pd.DataFrame(columns=COLUMNS)):
        go.Figure(layers_figure(frame, "moved"))
