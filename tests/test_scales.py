"""A score that is no share is nowhere written in percent, and a smaller one counts as better where it is."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd
import pytest
import torch

from fusion_ui.evaluation.comparison import CandidateScores
from fusion_ui.evaluation.growth import GrowthPoint
from fusion_ui.evaluation.guessing import CHANCE
from fusion_ui.evaluation.paired import Difference, Judged
from fusion_ui.evaluation.pairs import PairChange, PairResult, compare_with_experts
from fusion_ui.evaluation.scores import DomainScore, Role, describe_unit
from fusion_ui.plots.accuracy import accuracy_figure
from fusion_ui.plots.growth import growth_figure
from fusion_ui.plots.pairs import pairs_figure
from fusion_ui.plots.parameter_curve import Level, curve_figure
from fusion_ui.results.curve import curve_table
from fusion_ui.results.experiments import growth_row, growth_table, pair_row, pair_table
from fusion_ui.results.numbers import format_score
from fusion_ui.results.table import tidy_table
from fusion_ui.tasks import METRICS, metric_scale
from fusion_ui.tasks.scales import CORRELATION, PERCENT, RATIO, SEVERAL

SHOWN = {"perplexity": ("23.46", 23.456), "pearson": ("0.877", 0.8767), "spearman": ("-0.120", -0.12)}


def score(metric: str, value: float, domain: str = "a") -> DomainScore:
    less = METRICS[metric].is_smaller_better if metric in METRICS else False
    return DomainScore(domain, "report", Role.IN_DOMAIN, value, None, 8, 8, value - 0.1, value + 0.1, metric, less)


def row(*scores: DomainScore) -> CandidateScores:
    return CandidateScores(CHANCE, scores)


def test_every_metric_that_is_no_share_says_so():
    plain = {name for name, metric in METRICS.items() if metric.scale != PERCENT}
    assert plain == {"perplexity", "pearson", "spearman"}
    assert metric_scale("accuracy", "macro_f1") == PERCENT and metric_scale("pearson", "spearman") == CORRELATION
    assert metric_scale("accuracy", "perplexity") == SEVERAL and metric_scale("a share of something") == PERCENT
    assert PERCENT.write_change(0.0123, -0.01, 0.034) == "+1.2 [-1.0, +3.4]"
    assert RATIO.show(12345.678) == "12,345.68" and RATIO.show(math.nan) == PERCENT.write(math.nan) == "–"


def figures(metric: str, value: float) -> list[dict[str, Any]]:
    one, titles = row(score(metric, value)), {"a": "A"}
    about = {"name": "x", "title": "X", "color": "#112233", "is_reference": False}
    frame = tidy_table([(about, one.scores), (about | {"name": "chance", "title": "Chance"}, one.scores)])
    change = PairChange(one.scores, (one.scores, one.scores), Difference(1, 0.5, 2), Difference(1, 0.5, 2))
    pairs = pair_table([PairResult(("a", "b"), change, None)], titles)
    grown = growth_table([GrowthPoint(("a",), one, one, one.scores, ("a",))])
    return [
        *(accuracy_figure(frame, titles, is_from_zero=is_from_zero) for is_from_zero in (True, False)),
        curve_figure(curve_table({0.5: one}), titles, "α", 0.5, (0, 1), [Level("L", "#112233", value)]),
        growth_figure(grown, titles, ["A"]),
        *(pairs_figure(pairs, {"a": "A", "b": "B"}, quantity, "own") for quantity in ("score", "better")),
    ]


@pytest.mark.parametrize("metric", SHOWN)
def test_figures_write_the_number_itself(metric: str):
    written, value = SHOWN[metric]
    for figure in figures(metric, value):
        text = json.dumps(figure)
        assert "%}" not in text and ".0%" not in text and "points" not in text and f"{100 * value:.1f}" not in text
        low, high = figure["layout"]["yaxis"].get("range", (-math.inf, math.inf))
        assert figure["data"][0]["type"] == "heatmap" or low < value < high
    assert written in json.dumps(figures(metric, value)[0])
    assert ".0%" in json.dumps(figures("accuracy", 0.8)), "a share still is in percent"


@pytest.mark.parametrize("metric", SHOWN)
def test_tables_write_the_number_itself(metric: str):
    written, value = SHOWN[metric]
    one = row(score(metric, value))
    change = PairChange(one.scores, (one.scores, one.scores), Difference(0.5, 0.25, 1), Difference(0.5, 0.25, 1))
    texts = [format_score(one.scores[0]), *pair_row(PairResult(("a", "b"), change, None), "own")]
    texts += growth_row(GrowthPoint(("a",), one, None, (), ("a",)))
    assert sum(written in text for text in texts) == 5 and not any("%" in text for text in texts)
    assert describe_unit(one.scores) == METRICS[metric].title
    assert describe_unit([score("accuracy", 0.5)]) == "Accuracy in percent"


def test_of_perplexity_the_smaller_is_the_better_of_two_experts():
    def judged(value: float) -> Judged:
        counts = torch.tensor([[math.log(value), 1.0]] * 4, dtype=torch.float64)
        return Judged(METRICS["perplexity"], counts, None)

    merged, experts = [judged(10)], [[judged(8)], [judged(20)]]
    assert compare_with_experts(merged, experts, True).value == pytest.approx(-2), "2 worse than the better one"
    assert compare_with_experts(merged, experts, False).value == pytest.approx(10), "10 better than the worse one"


def test_a_share_of_the_experts_perplexity_is_larger_where_the_merge_is_better():
    better, worse = (row(score("perplexity", value)).relative_to({"a": 20.0}) for value in (10.0, 40.0))
    assert (better.mean, worse.mean) == (2.0, 0.5) and better.merit > worse.merit and better.scale == PERCENT
    assert better.scores[0].low < 2.0 < better.scores[0].high


def test_an_empty_figure_needs_no_metric():
    frame = growth_table([])
    assert isinstance(frame, pd.DataFrame) and growth_figure(frame, {}, [])["layout"]["yaxis"]["range"]
