"""Every figure is valid by plotly's own schema, and says what the table says."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import pytest

from fusion_ui.evaluation.scores import DomainScore, Role
from fusion_ui.plots.accuracy import accuracy_figure
from fusion_ui.plots.parameter_curve import Level, curve_figure
from fusion_ui.results.curve import COLUMNS as CURVE_COLUMNS
from fusion_ui.results.curve import MEAN, curve_table
from fusion_ui.results.table import tidy_table

DOMAINS = {"a": "First one", "b": "Second"}


def table() -> pd.DataFrame:
    def scores(value: float) -> list[DomainScore]:
        roles = {"a": Role.IN_DOMAIN, "b": Role.OUT_OF_DOMAIN}
        return [DomainScore(d, "report", roles[d], value, 3, 4, 8, value - 0.1, value + 0.1) for d in DOMAINS]

    names = [("regmean", "RegMean", False), ("ensemble", "Ensemble", True), ("own expert", "own expert", True)]
    about = [{"name": n, "title": t, "color": "#4c6ef5", "is_reference": r} for n, t, r in names]
    return tidy_table((entry, scores(0.7 + 0.05 * i)) for i, entry in enumerate(about))


@pytest.mark.parametrize("is_from_zero", [False, True])
def test_accuracy_is_valid_and_complete(is_from_zero):
    figure = accuracy_figure(table(), DOMAINS, frozenset({"ensemble"}), is_from_zero)
    go.Figure(figure)
    by_name = {trace["name"]: trace for trace in figure["data"]}
    assert by_name["RegMean"]["y"] == [0.7, 0.7]
    assert by_name["RegMean"]["type"] == ("bar" if is_from_zero else "scatter")
    assert by_name["RegMean"]["error_y"]["array"] == pytest.approx([0.1, 0.1])
    assert by_name["Ensemble"]["marker"]["color"].endswith("0.3)"), "what is out of date is faint"
    assert by_name["own expert"]["mode"] == "lines"
    assert figure["layout"]["xaxis"]["ticktext"] == ["First<br>one", "Second<br><i>out of domain</i>"]
    low = figure["layout"]["yaxis"]["range"][0]
    assert low == 0 if is_from_zero else 0 < low <= 0.6


def test_an_empty_table_gives_an_empty_figure():
    go.Figure(accuracy_figure(tidy_table([]), DOMAINS))
    go.Figure(curve_figure(curve_table({}), DOMAINS, "α", 0.9, (0, 1)))


def curve_rows(records: list[tuple[float, str, float, bool]]) -> pd.DataFrame:
    rows = [
        (p, d, v, v - 0.1, v + 0.1, 8 if is_complete else 4, is_complete, "accuracy")
        for p, d, v, is_complete in records
    ]
    return pd.DataFrame.from_records(rows, columns=CURVE_COLUMNS)


def test_the_curve_has_bands_a_mean_levels_and_a_marker():
    records = [(0, "a", 0.6, True), (0, MEAN, 0.7, True), (0.5, "a", 0.9, False), (1, "a", 0.8, True)]
    levels = [Level("Simple mean", "#123456", 0.65)]
    figure = curve_figure(curve_rows(records), DOMAINS, "α", 0.25, (0, 1), levels)
    go.Figure(figure)
    by_name = {trace["name"]: trace for trace in reversed(figure["data"])}  # the complete scores stand first
    assert (by_name["First one"]["x"], by_name["First one"]["y"]) == ([0, 1], [0.6, 0.8])
    assert by_name["First one, interval"]["x"] == [0, 1, 1, 0]
    assert by_name["First one, interval"]["y"] == pytest.approx([0.7, 0.9, 0.7, 0.5])
    assert by_name["mean"]["y"] == [0.7] and by_name["Simple mean"]["y"] == [0.65, 0.65]
    faint = [trace for trace in figure["data"] if trace["name"] == "First one" and trace["x"] == [0.5]]
    assert [(trace["mode"], trace["opacity"] < 1) for trace in faint] == [("markers", True)]
    assert figure["layout"]["shapes"][0]["x0"] == 0.25
    low, high = figure["layout"]["yaxis"]["range"]
    assert low <= 0.5 and high >= 0.9


def test_a_relative_curve_may_exceed_one():
    rows = curve_rows([(0, "a", 1.2, True)])
    figures = [curve_figure(rows, DOMAINS, "α", 0, (0, 1), is_relative=is_relative) for is_relative in (True, False)]
    highest = [figure["layout"]["yaxis"]["range"][1] for figure in figures]
    assert highest[0] >= 1.3 and highest[1] == 1.002, "an accuracy cannot be more than one"
