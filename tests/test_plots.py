"""Every figure is valid by plotly's own schema, and says what the table says."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import pytest

from fusion_ui.evaluation.scores import DomainScore, Role
from fusion_ui.plots.accuracy import accuracy_figure
from fusion_ui.plots.parameter_curve import curve_figure
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
    go.Figure(curve_figure(pd.DataFrame(columns=["parameter", "domain", "value"]), DOMAINS, "α", 0.9, (0, 1)))


def test_the_curve_is_sorted_with_a_mean_and_a_marker():
    records = [{"parameter": p, "domain": d, "value": v} for p, d, v in [(1, "a", 0.8), (0, "a", 0.6), (1, "b", 0.6)]]
    figure = curve_figure(pd.DataFrame(records), DOMAINS, "α", 0.25, (0, 1))
    go.Figure(figure)
    by_name = {trace["name"]: trace for trace in figure["data"]}
    assert (by_name["First one"]["x"], by_name["First one"]["y"]) == ([0, 1], [0.6, 0.8])
    assert by_name["mean"]["y"] == pytest.approx([0.6, 0.7])
    assert figure["layout"]["shapes"][0]["x0"] == 0.25
