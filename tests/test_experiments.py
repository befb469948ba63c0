"""Every two experts merged, and experts added one by one: by definition, and as by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_evaluation import make_domain
from test_search import Synthetic
from tiny_models import write_data, write_experts

from fusion_ui.cli import main
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import RecipeError, StoppedError
from fusion_ui.evaluation.candidates import Evaluation
from fusion_ui.evaluation.experiments import Experiment
from fusion_ui.evaluation.growth import GrowthPoint, keep_in_domain, run_growth
from fusion_ui.evaluation.loaded import bind_weights
from fusion_ui.evaluation.paired import Judged, paired_difference
from fusion_ui.evaluation.pairs import compare_with_experts, run_pairs
from fusion_ui.evaluation.references import expert_candidates
from fusion_ui.evaluation.scores import mean_interval
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.merging.subsets import pair_recipes, plain_recipe, prefix_recipes, restrict_recipe
from fusion_ui.plots.growth import growth_figure
from fusion_ui.plots.pairs import QUANTITIES, pairs_figure
from fusion_ui.progress import Progress
from fusion_ui.results.experiments import growth_headers, growth_row, growth_table, pair_table
from fusion_ui.settings import Settings
from fusion_ui.tasks.metrics import wilson_interval
from fusion_ui.tasks.sequence_classification import ACCURACY
from fusion_ui.workspace import Workspace

NAMES = ("news", "tweets", "films")
SIZE = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experts")
    write_experts(folder, 3)
    for i, name in enumerate(NAMES):
        write_data(folder / f"{name}.csv", 12, seed=i)
        write_data(folder / f"{name}_report.csv", SIZE, seed=10 + i)
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(Settings(cache_dir=tmp_path_factory.mktemp("cache")))


def make_recipe(folder: Path, method: str = "regmean", **change: Any) -> MergeRecipe:
    experts = [
        {"name": name, "model": str(folder / f"expert{i}"), "calibration": {"data": str(folder / f"{name}.csv")}}
        for i, name in enumerate(NAMES)
    ]
    return parse_recipe({"method": method, "experts": experts} | change)


# What the numbers mean, with answers made up.


def make_experiment(evaluation: Evaluation, right: Mapping[str, Mapping[str, list[int]]]) -> Experiment:
    """Names joined by "+" -> domain -> which sentences are answered right; a single name is an expert alone."""
    found = {
        names: Synthetic(
            names, names, names, "#000000", False, {d: np.array(r, dtype=bool) for d, r in answers.items()}
        )
        for names, answers in right.items()
    }
    return Experiment(
        {tuple(names.split("+")): c for names, c in found.items() if "+" in names},
        {names: c for names, c in found.items() if "+" not in names},
        {"a": "x", "b": "y", "c": ""},
        evaluation,
    )


@pytest.fixture(scope="module")
def ten(folder: Path, workspace: Workspace) -> Evaluation:
    model = workspace.plan(make_recipe(folder)).experts[0]
    return workspace.evaluation([make_domain(name, 10, seed=i) for i, name in enumerate("xyz")], model)


def first(count: int) -> list[int]:
    """The first so many of ten."""
    return [1] * count + [0] * (10 - count)


BY_HAND = {
    "a": {"x": first(9), "y": first(4), "z": first(5)},
    "b": {"x": first(6), "y": first(8), "z": first(7)},
    "c": {"x": first(2), "y": first(2), "z": first(10)},
    "a+b": {"x": first(7), "y": first(8), "z": first(8)},
    "a+c": {"x": first(8), "y": first(3), "z": first(10)},
}


def test_a_pair_by_hand(ten: Evaluation):
    ab, ac = run_pairs(make_experiment(ten, BY_HAND))
    assert ab.experts == ("a", "b") and ab.own and ab.others
    # Own domains x and y: 0.7 and 0.8; the better there 0.9 (a) and 0.8 (b), the worse 0.6 (b) and 0.4 (a).
    assert ab.own.mean == pytest.approx(0.75)
    assert ab.own.better.value == pytest.approx(((0.7 - 0.9) + (0.8 - 0.8)) / 2)
    assert ab.own.worse.value == pytest.approx(((0.7 - 0.6) + (0.8 - 0.4)) / 2)
    # The other domain z: 0.8; b is better there with 0.7, a has 0.5.
    assert ab.others.mean == pytest.approx(0.8)
    assert (ab.others.better.value, ab.others.worse.value) == pytest.approx((0.1, 0.3))
    assert [score.value for score in ab.others.alone[0]] == [0.5]
    # Bonett and Price over two domains of ten: two sentences lost on x, none on y.
    centre, variance = -2 / 12, (4 / 12 - (2 / 12) ** 2) / 12 + (2 / 12) / 12
    half = 1.959964 * math.sqrt(variance)
    assert (ab.own.better.low, ab.own.better.high) == pytest.approx(((centre - half) / 2, (centre + half) / 2))
    # c has no domain of its own, so x alone is in-domain.
    assert ac.own and ac.others
    assert [score.domain for score in ac.own.merged] == ["x"] and [s.domain for s in ac.others.merged] == ["y", "z"]
    assert (ac.own.better.value, ac.own.worse.value) == pytest.approx((-0.1, 0.6))
    described = json.loads(json.dumps(ab.describe()))
    assert described["own_domains"]["against_better"]["value"] == pytest.approx(-0.1)
    assert [score["alone"] for score in described["own_domains"]["scores"]] == [[0.9, 0.6], [0.4, 0.8]]


def test_a_pair_without_domains_of_its_own_has_only_others(ten: Evaluation):
    experiment = make_experiment(ten, {name: BY_HAND[name] for name in ("a", "c", "a+c")})
    alone = Experiment(experiment.merges, experiment.experts, {}, ten)
    (result,) = run_pairs(alone)
    assert result.own is None and result.others and len(result.others.merged) == 3
    everywhere = Experiment(experiment.merges, experiment.experts, {"a": "x", "c": "y"}, restrict(ten, "xy"))
    (result,) = run_pairs(everywhere)
    assert result.others is None and result.describe()["other_domains"] is None


def restrict(evaluation: Evaluation, names: str) -> Evaluation:
    domains = tuple(d for d in evaluation.domains if d.domain.name in names)
    return replace(evaluation, domains=domains)


def as_judged(right: torch.Tensor) -> Judged:
    return Judged(ACCURACY, torch.stack([right.double(), torch.ones(len(right)).double()], 1), right)


answers = st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=12)


@given(domains=st.lists(answers, min_size=1, max_size=3))
def test_better_and_worse_are_those_of_each_domain(domains: list[list[tuple[bool, ...]]]):
    rights = [tuple(torch.tensor([row[i] for row in d]) for d in domains) for i in range(3)]
    merged, *experts = ([as_judged(right) for right in model] for model in rights)
    better, worse = (compare_with_experts(merged, experts, is_better) for is_better in (True, False))
    accuracy = [[sum(row[i] for row in d) / len(d) for d in domains] for i in range(3)]
    gains = [m - max(a, b) for m, a, b in zip(*accuracy, strict=True)]
    losses = [m - min(a, b) for m, a, b in zip(*accuracy, strict=True)]
    assert better.value == pytest.approx(sum(gains) / len(gains))
    assert worse.value == pytest.approx(sum(losses) / len(losses))
    assert better.value <= worse.value + 1e-9
    # Two equal experts are both the better and the worse, and the interval is that of the plain comparison.
    same = compare_with_experts(merged, [experts[0], experts[0]], True)
    assert same == compare_with_experts(merged, [experts[0], experts[0]], False)
    assert same == paired_difference(rights[0], rights[1])


GROWING = {
    "a": BY_HAND["a"],
    "b": BY_HAND["b"],
    "b+a": {"x": first(7), "y": first(8), "z": first(8)},
}


def test_growth_by_hand(ten: Evaluation):
    experiment = make_experiment(ten, GROWING)
    merges = {("b",): experiment.experts["b"], **experiment.merges}
    points = list(run_growth(Experiment(merges, experiment.experts, experiment.domain_of, ten), has_ensemble=True))
    assert [point.experts for point in points] == [("b",), ("b", "a")]
    one, two = points
    # The first: b's own domain y alone is in-domain.
    assert in_domain(one) == [("y", 0.8)] and one.scores.mean == pytest.approx((0.6 + 0.8 + 0.7) / 3)
    assert in_domain(two) == [("x", 0.7), ("y", 0.8)] and two.scores.mean == pytest.approx((0.7 + 0.8 + 0.8) / 3)
    kept = keep_in_domain(two.scores)
    assert kept and kept.mean == pytest.approx(0.75) and kept.interval == mean_interval(two.scores.scores[:2])
    for point in points:  # what they are compared with stays the same
        assert [(score.domain, score.value) for score in point.own] == [("x", 0.9), ("y", 0.8)]
    # The ensemble of one is the expert. Of two the mean of answers that are 0 and 1: right where both are, or where
    # one is and the label is the first of the two, which wins a tie.
    assert one.ensemble and two.ensemble and [s.value for s in one.ensemble.scores] == [0.6, 0.8, 0.7]
    for score, encoded in zip(two.ensemble.scores, ten.domains, strict=True):
        pairs = zip(GROWING["a"][score.domain], GROWING["b"][score.domain], encoded.targets, strict=True)
        assert score.num_correct == sum((a and b) or ((a or b) and label == 0) for a, b, label in pairs)


def in_domain(point: GrowthPoint) -> list[tuple[str, float]]:
    row = keep_in_domain(point.scores)
    return [(score.domain, score.value) for score in row.scores] if row else []


def test_a_stop_keeps_what_is_known_and_progress_grows(ten: Evaluation):
    for run in (run_pairs, run_growth):
        seen: list[float] = []
        list(run(make_experiment(ten, BY_HAND), Progress(lambda fraction, _, seen=seen: seen.append(fraction))))
        assert seen == sorted(seen) and 0 <= seen[0] < seen[-1] <= 1
        progress = Progress()
        steps = run(make_experiment(ten, BY_HAND), progress)
        next(steps)
        progress.stop()
        with pytest.raises(StoppedError):
            next(steps)


# What the figures say.

TITLES = {"a": "<b>First</b>", "b": "Second", "c": "Third"}
DOMAINS = {"x": "Domain x", "y": "<i>y</i>", "z": "Z"}


def test_the_heat_map_says_what_the_table_says(ten: Evaluation):
    frame = pair_table(run_pairs(make_experiment(ten, BY_HAND)), DOMAINS)
    figure = pairs_figure(frame, TITLES, "better", "own")
    go.Figure(figure)
    (trace,) = figure["data"]
    assert trace["z"][0] == [None, pytest.approx(-0.1), pytest.approx(-0.1)]
    assert trace["z"] == [list(column) for column in zip(*trace["z"], strict=True)], "the same either way round"
    assert trace["z"][1][2] is None and trace["text"][1][2] == ""  # not there yet
    assert -trace["zmin"] == trace["zmax"] == pytest.approx(0.1), "0 is in the middle of the colours"
    assert trace["text"][0][1] == "-10.0"
    hover = trace["customdata"][0][1]
    assert "no clear difference" in hover and "paired 95 % interval -2" in hover and "20 sentences, report" in hover
    assert "&lt;b&gt;First&lt;/b&gt; + Second" in hover and "<i>" not in hover
    assert "Domain x: 70.0%, alone 90.0% and 60.0%" in hover
    assert figure["layout"]["yaxis"]["ticktext"][0] == "&lt;b&gt;First&lt;/b&gt;"
    worse = pairs_figure(frame, TITLES, "worse", "own")["data"][0]
    assert (
        worse["text"][0][2] == "<b>+60.0</b>" and "no clear" not in worse["customdata"][0][2]
    )  # a clear change is bold
    others = pairs_figure(frame, TITLES, "score", "others")["data"][0]
    assert others["text"][0][1] == "80.0" and others["z"][0][2] == pytest.approx((0.3 + 1.0) / 2)


def test_small_changes_do_not_look_large(ten: Evaluation):
    same = dict.fromkeys(("a", "b", "a+b"), BY_HAND["a"])
    trace = pairs_figure(pair_table(run_pairs(make_experiment(ten, same)), {}), TITLES, "better", "own")["data"][0]
    assert trace["z"][0][1] == 0 and trace["zmax"] == 0.02


def test_figures_of_nothing_are_empty():
    for quantity in QUANTITIES:
        figure = pairs_figure(pair_table([], {}), TITLES, quantity, "own")
        go.Figure(figure)
        assert all(value is None for row in figure["data"][0]["z"] for value in row)
    figure = growth_figure(growth_table([]), DOMAINS, list(TITLES.values()))
    go.Figure(figure)
    assert all(trace["x"] == [] for trace in figure["data"])
    assert figure["layout"]["xaxis"]["ticktext"] == ["&lt;b&gt;First&lt;/b&gt;", "+ Second", "+ Third"]


def test_the_growth_figure_says_what_the_table_says(ten: Evaluation):
    experiment = make_experiment(ten, GROWING)
    merges = {("b",): experiment.experts["b"], **experiment.merges}
    points = list(run_growth(Experiment(merges, experiment.experts, experiment.domain_of, ten), has_ensemble=True))
    figure = growth_figure(growth_table(points), DOMAINS, ["Second", "<b>First</b>"])
    go.Figure(figure)
    traces = {trace["name"]: trace for trace in figure["data"]}
    assert list(traces) == [
        *("Domain x", "Domain x, own expert", "&lt;i&gt;y&lt;/i&gt;", "&lt;i&gt;y&lt;/i&gt;, own expert", "Z"),
        *("mean so far", "mean of all", "ensemble so far"),
    ]
    x = traces["Domain x"]
    assert (x["y"], x["marker"]["symbol"]) == ([0.6, 0.7], ["circle-open", "circle"])
    assert traces["Domain x, own expert"]["y"] == [0.9, 0.9]
    low, high = wilson_interval(7, 10)
    assert x["error_y"]["array"][1] == pytest.approx(high - 0.7) and x["error_y"]["arrayminus"][1] == pytest.approx(
        0.7 - low
    )
    assert traces["mean so far"]["x"] == [1, 2] and traces["mean so far"]["y"] == pytest.approx([0.8, 0.75])
    assert traces["mean of all"]["y"] == pytest.approx([0.7, (0.7 + 0.8 + 0.8) / 3])
    assert traces["mean so far"]["customdata"][1][2:] == [20, "report", "75.0%"]
    assert growth_row(points[0], TITLES)[0] == "Second" and growth_row(points[0])[3:6] == ["(60.0)", "80.0", "(70.0)"]
    assert len(growth_row(points[1])) == len(growth_headers(DOMAINS, True)) == 8


# Which merges these are.


def test_every_subset_is_the_same_recipe_of_fewer_experts(folder: Path):
    whole = make_recipe(folder, parameters={"alpha": 0.3}, statistics={"num_examples": 9, "seed": 4})
    assert list(pair_recipes(whole)) == list(combinations(NAMES, 2))
    for names, recipe in pair_recipes(whole).items():
        assert recipe == whole.model_copy(update={"experts": tuple(e for e in whole.experts if e.name in names)})
    order = ["films", "news", "tweets"]
    grown = prefix_recipes(whole, order)
    assert list(grown) == [("films",), ("films", "news"), ("films", "news", "tweets")]
    assert grown["films", "news"] == restrict_recipe(whole, ["news", "films"])
    # All experts are the recipe itself, whatever the order: its numbers are those of the page.
    assert grown[tuple(order)] == whole
    assert list(prefix_recipes(whole)) == [NAMES[:1], NAMES[:2], NAMES]


def test_methods_begin_with_as_many_experts_as_they_need(folder: Path):
    base = {"base": str(folder / "expert0")}
    assert [len(names) for names in prefix_recipes(make_recipe(folder, "model_stock", **base))] == [2, 3]
    two = restrict_recipe(make_recipe(folder), NAMES[:2]).model_copy(update={"method": "slerp", "parameters": {}})
    assert list(prefix_recipes(two)) == [NAMES[:2]]
    assert len(pair_recipes(make_recipe(folder, "slerp"))) == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda r: prefix_recipes(r("slerp")), "SLERP merges 2 experts, and 3 take part. Change which do."),
        (lambda r: prefix_recipes(r("task_arithmetic")), "Task arithmetic needs the base model"),
        (lambda r: pair_recipes(r("ties")), "TIES needs the base model"),
        (lambda r: pair_recipes(restrict_recipe(r("regmean"), ["news"])), "Pairs need at least two experts"),
        (
            lambda r: pair_recipes(r("regmean", rules=[{"parameters": "biases", "merge": "news"}])),
            "The rule for 'biases' must say one of",
        ),
        (lambda r: prefix_recipes(r("regmean"), ["news", "tweets"]), "must name every expert that takes part once"),
        (lambda r: prefix_recipes(r("regmean"), ["news", "tweets", "news"]), "Got news, tweets, news instead."),
        (lambda r: prefix_recipes(r("regmean"), [["news"], None, 3]), "must name every expert"),
        (lambda r: prefix_recipes(r("regmean"), "news,tweets,films"), "must name every expert"),
        (lambda r: prefix_recipes(r("regmean"), {"news": 1}), "must name every expert"),
        (lambda r: prefix_recipes(r("regmean"), []), "Got none instead."),
    ],
)
def test_what_is_impossible_is_said_before_anything_runs(folder: Path, make: Callable[[Any], Any], words: str):
    with pytest.raises(RecipeError, match=words.replace(".", r"\.").replace("(", r"\(")):
        make(lambda method, **change: make_recipe(folder, method, **change))


def test_a_pair_whose_weights_are_all_zero_is_named(folder: Path):
    whole = make_recipe(folder).model_dump()
    for expert in whole["experts"][:2]:
        expert["weight"] = 0
    with pytest.raises(RecipeError, match=r"The merge of news and tweets alone cannot be used.*weight above 0"):
        pair_recipes(parse_recipe(whole))


# The same as by hand.


def read_report(folder: Path) -> list[Domain]:
    return [load_domain(folder / f"{name}_report.csv", name) for name in (*NAMES[:2], "films")]


def by_hand(workspace: Workspace, recipe: MergeRecipe, names: tuple[str, ...], evaluation: Evaluation) -> list[float]:
    """Accuracy on every domain of a merge that is made and asked sentence by sentence."""
    experts = [expert for expert in recipe.experts if expert.name in names]
    alone = parse_recipe({**recipe.model_dump(), "experts": [expert.model_dump() for expert in experts]})
    plan = workspace.plan(alone)
    compute = bind_weights(plan.experts[0], workspace.merge(plan).tensors)
    found = []
    for encoded in evaluation.domains:
        right = 0
        for text, label in zip(encoded.texts, encoded.targets, strict=True):
            ((_, logits),) = ((b, compute(b)) for b in batches_of(text))
            right += int(logits[0].argmax()) == label
        found.append(right / len(encoded))
    return found


def batches_of(text: Any) -> list[Any]:
    from fusion_ui.domains.batches import make_batches

    return list(make_batches([text], range(1), 0, 768))


def prepare(workspace: Workspace, folder: Path, whole: MergeRecipe, recipes: Mapping[Any, MergeRecipe]) -> Experiment:
    everyone = workspace.plan(plain_recipe(whole))
    merges = {names: workspace.candidate(workspace.plan(recipe)) for names, recipe in recipes.items()}
    own = {name: name for name in NAMES}
    evaluation = workspace.evaluation_of(read_report(folder), everyone)
    return Experiment(merges, expert_candidates(everyone), own, evaluation)


@pytest.mark.parametrize("method", ["regmean", "slerp"])
def test_pairs_are_what_merging_by_hand_gives(workspace: Workspace, folder: Path, method: str):
    whole = make_recipe(folder, method)
    experiment = prepare(workspace, folder, whole, pair_recipes(whole))
    alone = {n: by_hand(workspace, make_recipe(folder), (n,), experiment.evaluation) for n in NAMES}
    results = list(run_pairs(experiment))
    assert [result.experts for result in results] == list(combinations(NAMES, 2))
    for result in results:
        expected = by_hand(workspace, whole, result.experts, experiment.evaluation)
        assert result.own and result.others
        scores = {score.domain: score.value for part in (result.own, result.others) for score in part.merged}
        assert scores == pytest.approx(dict(zip(NAMES, expected, strict=True)))
        for part, names in ((result.own, result.experts), (result.others, set(NAMES) - set(result.experts))):
            gaps = [
                expected[i] - max(alone[expert][i] for expert in result.experts)
                for i, name in enumerate(NAMES)
                if name in names
            ]
            assert part.better.value == pytest.approx(sum(gaps) / len(gaps))


def test_growth_is_what_merging_by_hand_gives(workspace: Workspace, folder: Path):
    whole = make_recipe(folder)
    order = ["films", "news", "tweets"]
    experiment = prepare(workspace, folder, whole, prefix_recipes(whole, order))
    alone = {name: by_hand(workspace, whole, (name,), experiment.evaluation) for name in NAMES}
    for point in run_growth(experiment):
        expected = by_hand(workspace, whole, point.experts, experiment.evaluation)
        assert [score.value for score in point.scores.scores] == pytest.approx(expected)
        assert {score.domain for score in point.scores.scores if score.role == "in-domain"} == set(point.experts)
        for score in point.own:
            assert score.value == pytest.approx(alone[score.domain][NAMES.index(score.domain)])


def test_task_vectors_of_one_expert_are_scaled_too(workspace: Workspace, folder: Path):
    # Each prefix is a merge, also that of one expert: at a scaling of 0 it is the base model and not the expert.
    whole = make_recipe(folder, "task_arithmetic", base=str(folder / "expert2"), parameters={"scaling_coefficient": 0})
    experiment = prepare(workspace, folder, whole, prefix_recipes(whole))
    base = by_hand(workspace, make_recipe(folder), ("films",), experiment.evaluation)
    for point in run_growth(experiment):
        assert [score.value for score in point.scores.scores] == pytest.approx(base)


# The command line.


@pytest.fixture
def command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs a command on the three experts' recipe and data; returns its exit code, output and message."""
    monkeypatch.setenv("FUSION_UI_CACHE_DIR", str(tmp_path / "cache"))
    from fusion_ui.settings import read_settings

    def call(name: str, *arguments: str, method: str = "regmean") -> tuple[int, str, str]:
        read_settings.cache_clear()
        recipe = tmp_path / "recipe.json"
        recipe.write_text(make_recipe(folder, method).model_dump_json())
        data = [part for n in NAMES for part in ("--data", f"{n}={folder}/{n}_report.csv")]
        with pytest.raises(SystemExit) as ended:
            main([name, str(recipe), *data, *arguments])
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, " ".join(printed.err.split())

    yield call
    read_settings.cache_clear()


def test_the_command_prints_every_pair(command: Callable[..., tuple[int, str, str]]):
    code, printed, message = command("pairs", "--set", "alpha=0.5")
    assert code == 0 and message == ""
    header, *lines = printed.splitlines()
    assert header.split()[:4] == ["Pair", "Own", "domains", "vs"]
    assert [line.split("  ")[0] for line in lines] == ["news + tweets", "news + films", "tweets + films"]
    _, printed, _ = command("pairs", "--set", "alpha=0.5", "--json")
    found = json.loads(printed)["pairs"]
    for line, pair in zip(lines, found, strict=True):
        own = pair["own_domains"]
        assert f"{100 * own['mean']:.1f} [" in line
        assert f"{100 * own['against_better']['value']:+.1f} [" in line


def test_the_command_grows_in_the_order_given(command: Callable[..., tuple[int, str, str]]):
    code, printed, _ = command("growth", "--order", "films, news,tweets", "--ensemble")
    header, *lines = printed.splitlines()
    assert code == 0 and header.endswith("Ensemble, all")
    assert [line.split("  ")[0] for line in lines] == ["films", "films + news", "films + news + tweets"]
    assert lines[0].count("(") == 2 and lines[2].count("(") == 0
    _, printed, _ = command("growth", "--order", "films,news,tweets", "--json")
    points = json.loads(printed)["points"]
    assert [point["experts"] for point in points] == [["films"], ["films", "news"], ["films", "news", "tweets"]]
    assert f" {100 * points[1]['in_domain']['mean']:.1f} [" in lines[1] and points[1]["ensemble"] is None


def test_the_commands_refuse_in_one_sentence(command: Callable[..., tuple[int, str, str]]):
    code, _, message = command("growth", "--order", "films")
    assert code == 2 and "must name every expert that takes part once: news, tweets, films. Got films" in message
    code, _, message = command("growth", method="slerp")
    assert code == 2 and "SLERP merges 2 experts, and 3 take part." in message
    code, printed, _ = command("pairs", method="slerp")
    assert code == 0 and len(printed.splitlines()) == 4
