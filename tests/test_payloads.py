"""Texts from people, as every figure draws them: Plotly reads tags in names, ticks and hovers, and must find none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest
import torch

from fusion_ui import plots
from fusion_ui.domains.summary import DomainSummary, TokenLengths
from fusion_ui.evaluation.confusion import Confusion
from fusion_ui.evaluation.scores import DomainScore, Role
from fusion_ui.merging.two_features import TwoFeatures
from fusion_ui.plots.accuracy import accuracy_figure
from fusion_ui.plots.confusion import confusion_figure
from fusion_ui.plots.cost import cost_figure
from fusion_ui.plots.domain_summary import domain_summary_figure
from fusion_ui.plots.growth import growth_figure
from fusion_ui.plots.interference import interference_figure
from fusion_ui.plots.layers import layers_figure
from fusion_ui.plots.pairs import pairs_figure
from fusion_ui.plots.parameter_curve import Level, curve_figure
from fusion_ui.plots.sample_size import sample_size_figure
from fusion_ui.plots.spread import spread_figure
from fusion_ui.plots.two_features import two_features_figure
from fusion_ui.results.curve import COLUMNS, MEAN
from fusion_ui.results.table import tidy_table

BAD = "<a href=x>${y}"
TITLES = {"d": BAD, "e": "e"}
ENDS = ("", "_low", "_high")


def accuracy() -> dict[str, Any]:
    scores = [DomainScore("d", "report", Role.IN_DOMAIN, 0.7, 3, 4, 8, 0.6, 0.8)]
    return accuracy_figure(
        tidy_table([({"name": "m", "title": BAD, "color": "#123456", "is_reference": False}, scores)]), TITLES
    )


def curve() -> dict[str, Any]:
    score = (0.7, 0.6, 0.8, 8)
    rows = [(v, d, *score, done, BAD) for v in (0, 1) for d in ("d", "e", MEAN) for done in (True, False)]
    levels = [Level(BAD, "#123456", 0.6)]
    return curve_figure(pd.DataFrame.from_records(rows, columns=COLUMNS), TITLES, "α", 0.5, (0, 1), levels)


def growth() -> dict[str, Any]:
    row = {
        "role": "in-domain",
        "value": 0.7,
        "low": 0.6,
        "high": 0.8,
        "num_examples": 9,
        "split": "report",
        "metric": BAD,
    }
    kinds = [("domain", "d"), ("own expert", "d"), ("all", ""), ("own so far", "")]
    rows = [row | {"num_experts": 1, "series": series, "domain": domain} for series, domain in kinds]
    return growth_figure(pd.DataFrame.from_records(rows), TITLES, [BAD, "b"])


def pairs() -> dict[str, Any]:
    row = {f"{quantity}{end}": 0.1 for quantity in ("score", "better", "worse") for end in ENDS}
    row |= {
        "first": "d",
        "second": "e",
        "where": "own",
        "split": "report",
        "num_examples": 9,
        "metric": BAD,
        "detail": [BAD],
    }
    return pairs_figure(pd.DataFrame.from_records([row]), TITLES, "better", "own")


def layers() -> dict[str, Any]:
    row = {"is_matrix": True, "group": "", "layer": 0.0, "stack": BAD, "kind": BAD, "moved": 1.0}
    return layers_figure(pd.DataFrame.from_records([row, row | {"stack": "b", "layer": 1.0}]), "moved")


def interference() -> dict[str, Any]:
    row = {"place": BAD, "first": BAD, "second": "b", "cosine": 0.1}
    return interference_figure(pd.DataFrame.from_records([row]), "cosine")


def sample_size() -> dict[str, Any]:
    rows = [{"num_examples": size, "draw": 0, "domain": "d", "value": 0.7} for size in (8, 16)]
    return sample_size_figure(pd.DataFrame.from_records(rows), {"d": BAD}, [Level(BAD, "#123456", 0.6)])


def spread() -> dict[str, Any]:
    rows = [{"group": "d", "series": BAD, "run": 0, "value": 0.7}]
    return spread_figure(pd.DataFrame.from_records(rows), {"d": BAD}, {BAD: "#123456"})


def cost() -> dict[str, Any]:
    rows = [{"series": BAD, "run": 0, "seconds": 1.0, "value": 0.7}]
    return cost_figure(pd.DataFrame.from_records(rows), {BAD: "#123456"})


def confusion() -> dict[str, Any]:
    return confusion_figure(Confusion("d", BAD, "report", (BAD, "b"), torch.tensor([[1, 2], [3, 4]])))


def summary() -> dict[str, Any]:
    return domain_summary_figure(DomainSummary(BAD, 3, {BAD: 2, "b": 1}, TokenLengths((3, 4, 5), 8), 0, (BAD,)))


def two_features() -> dict[str, Any]:
    square = ((1.0, 0.1), (0.1, 1.0))
    return two_features_figure(
        TwoFeatures(BAD, 4, 0, (0, 1), (BAD, "b"), (0.5, 0.5), ((0.0, 0.0), (1.0, 1.0)), (square, square)), 0.5
    )


FIGURES = [
    accuracy,
    curve,
    growth,
    pairs,
    layers,
    interference,
    sample_size,
    spread,
    cost,
    confusion,
    summary,
    two_features,
]


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        # Traces are shown and hidden together by a group's name, which is drawn nowhere.
        yield from (text for key, part in value.items() if key != "legendgroup" for text in texts(part))
    elif isinstance(value, list | tuple):
        yield from (text for part in value for text in texts(part))


@pytest.mark.parametrize("draw", FIGURES)
def test_no_figure_hands_plotly_markup_that_people_wrote(draw: Callable[[], dict[str, Any]]):
    figure = draw()
    go.Figure(figure)
    found = list(texts(figure))
    assert [text for text in found if "<a" in text] == []
    shown = [unescape(text).replace("<br>", " ") for text in found]
    assert any("<a href=x>" in text for text in shown), "the text itself is shown"


def test_every_figure_is_among_them():
    files = {path.stem for folder in plots.__path__ for path in Path(folder).glob("[a-z]*.py")} - {"style"}
    assert len(files) == len(FIGURES)
