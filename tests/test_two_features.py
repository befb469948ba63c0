"""The picture of RegMean: two weights, solved by the merge's own solver and checked row by row."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_project import write_project

from fusion_ui.cli import main
from fusion_ui.errors import MergeError
from fusion_ui.merging.two_features import TwoFeatures, choose_two_features
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.plots.two_features import two_features_figure
from fusion_ui.results.two_features import two_features_table
from fusion_ui.settings import Settings
from fusion_ui.solving.normal_equations import NormalEquations
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.how import Picturing, show
from fusion_ui.workspace import Workspace

WIDTH, OUTPUTS, ROWS = 6, 4, 50


def make_slot(seed: int, weights: tuple[float, ...] = (0.5, 0.2, 0.3)) -> tuple[ParameterSlot, list[np.ndarray]]:
    """A layer of three experts, and the inputs that each of them saw."""
    numbers = np.random.default_rng(seed)
    inputs = [numbers.standard_normal((ROWS, WIDTH)) @ numbers.standard_normal((WIDTH, WIDTH)) for _ in weights]
    grams = tuple(torch.tensor(x.T @ x) for x in inputs)
    experts = torch.tensor(numbers.standard_normal((len(weights), OUTPUTS, WIDTH)).astype(np.float32))
    equations = NormalEquations(grams, (ROWS,) * len(weights), weights)
    return ParameterSlot("w", experts, weights, is_linear=True, equations=equations), inputs


def solve_directly(picture: TwoFeatures, inputs: list[np.ndarray], alpha: float) -> np.ndarray:
    """(sum c_i G~_i)^-1 sum c_i G~_i w_i in float64, with Grams from the rows."""
    left, right = np.zeros((2, 2)), np.zeros(2)
    for x, c, point in zip(inputs, picture.weights, picture.points, strict=True):
        seen = x[:, list(picture.features)]
        gram = seen.T @ seen / len(seen)
        gram = alpha * gram + (1 - alpha) * np.diag(np.diag(gram))
        left, right = left + c * gram, right + c * gram @ np.array(point)
    return np.linalg.solve(left, right)


@given(seed=st.integers(0, 10_000), alpha=st.floats(0, 1))
def test_the_solution_is_the_direct_one_and_the_least_error(seed: int, alpha: float):
    slot, inputs = make_slot(seed)
    picture, pair = choose_two_features(slot, (2, 0), ("c", "a")), [inputs[2], inputs[0]]
    assert picture.weights == pytest.approx((0.375, 0.625))
    assert picture.solve(alpha) == pytest.approx(solve_directly(picture, pair, alpha), rel=1e-7, abs=1e-9)
    table = two_features_table(picture, alpha).set_index("what")
    assert table["error"].min() == pytest.approx(table.loc["RegMean α=1", "error"])
    assert table.loc["c", "error_first"] == 0 and table.loc["a", "error_second"] == 0


@given(seed=st.integers(0, 10_000))
def test_errors_are_those_of_the_output_with_all_other_weights_as_they_are(seed: int):
    slot, inputs = make_slot(seed)
    picture = choose_two_features(slot, (0, 1), ("a", "b"))
    for expert, x in enumerate(inputs[:2]):
        own = slot.experts[expert, picture.unit].double().numpy()
        changed = own.copy()
        changed[list(picture.features)] = picture.mean
        expected = np.mean((x @ changed - x @ own) ** 2)
        assert picture.error(expert, picture.mean) == pytest.approx(expected)
    assert picture.mean == pytest.approx(np.average(picture.points, axis=0, weights=picture.weights))


@given(seed=st.integers(0, 10_000))
def test_the_two_inputs_are_those_that_show_most(seed: int):
    slot, _ = make_slot(seed, (0.5, 0.5))
    picture = choose_two_features(slot, (0, 1), ("a", "b"))
    assert slot.equations is not None
    grams = [gram.numpy() / ROWS for gram in slot.equations.grams]
    difference = (slot.experts[0] - slot.experts[1]).double().numpy()
    assert picture.unit == int(np.argmax([d @ (grams[0] + grams[1]) @ d for d in difference]))

    def gain(features: tuple[int, int]) -> float:
        points = [slot.experts[i, picture.unit, list(features)].double().numpy() for i in (0, 1)]
        small = [gram[np.ix_(features, features)] for gram in grams]
        best = np.linalg.solve(sum(small), sum(g @ w for g, w in zip(small, points, strict=True)))
        errors = [
            sum((at - w) @ g @ (at - w) for g, w in zip(small, points, strict=True))
            for at in ((points[0] + points[1]) / 2, best)
        ]
        return errors[0] - errors[1]

    assert gain(picture.features) == pytest.approx(max(gain(pair) for pair in combinations(range(WIDTH), 2)))


def test_contours_have_one_error_each_and_the_outermost_goes_through_the_mean():
    slot, _ = make_slot(1)
    picture = choose_two_features(slot, (0, 1), ("<b>a</b>", "b"))
    figure = two_features_figure(picture, 0.5)
    go.Figure(figure)
    rings = [trace for trace in figure["data"] if len(trace["x"]) > 100]
    assert len(rings) == 6 and rings[0]["name"] == "&lt;b&gt;a&lt;/b&gt;"
    for number, ring in enumerate(rings):
        errors = [picture.error(number // 3, point) for point in zip(ring["x"], ring["y"], strict=True)]
        assert errors == pytest.approx([errors[0]] * len(errors))
        if number % 3 == 2:
            assert errors[0] == pytest.approx(picture.error(number // 3, picture.mean))
    now = next(trace for trace in figure["data"] if trace["name"] == "RegMean α=0.5")
    assert (now["x"][0], now["y"][0]) == pytest.approx(picture.solve(0.5))
    go.Figure(two_features_figure(None, 0.5))


def test_a_layer_that_cannot_be_drawn_is_refused():
    slot, _ = make_slot(2)
    bare = ParameterSlot("w", slot.experts, slot.weights, is_linear=True, equations_missing="nobody measured it")
    with pytest.raises(MergeError, match="w has no Gram matrices to draw: nobody measured it"):
        choose_two_features(bare, (0, 1), ("a", "b"))


def test_the_page_draws_the_projects_own_layer_and_follows_the_slider(settings: Settings, tmp_path: Path):
    handlers = Handlers(Workspace(settings), write_project(tmp_path))
    *_, (status, layers, first, second, figure, numbers, picture) = Picturing(handlers).draw("me", None, None, None)
    assert layers["value"] == "bert.encoder.layer.0.attention.self.query.weight"
    assert (first["value"], second["value"]) == picture.experts == ("d0", "d1") and first["choices"] == [
        "d0",
        "d1",
        "d2",
    ]
    assert f"Output {picture.unit} of {picture.name}" in status["message"]
    assert status["detail"].endswith("Without d2.")
    assert numbers["headers"][3] == "error on d0" and [row[0] for row in numbers["rows"]][3:] == [
        "RegMean α=0",
        "RegMean α=0.9",
        "RegMean α=1",
    ]
    moved, _ = show(picture, 0.25)
    assert any(trace["name"] == "RegMean α=0.25" for trace in moved["data"]) and moved != figure
    assert all("data" not in drawn for drawn in show(None, 0.5)) and all("data" not in d for d in show(picture, "x"))
    for chosen in (("d0", "d0"), ("nobody", None)):
        *_, (_, _, first, second, *_) = Picturing(handlers).draw("me", layers["value"], *chosen)
        assert (first["value"], second["value"]) == ("d0", "d1")


def test_the_command_prints_where_the_solutions_lie(settings: Settings, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr("fusion_ui.cli.arguments.read_settings", lambda: settings)
    project = write_project(tmp_path)
    experts = [
        {"name": e.name, "model": str(e.model), "calibration": {"data": str(d.calibrate)}}
        for e, d in zip(project.experts, project.domains, strict=True)
    ]
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"method": "regmean", "parameters": {"alpha": 0.4}, "experts": experts}))

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["two-features", str(recipe), *arguments])
        return ended.value.code or 0, *capsys.readouterr()

    code, out, _ = run("--experts", "d2,d0")
    assert code == 0 and "RegMean α=0.4" in out and "error on d2" in out
    code, out, _ = run("--json", "--layer", "bert.encoder.layer.0.output.dense.weight")
    found = json.loads(out)
    assert found["name"].endswith("output.dense.weight") and found["width"] == 32 and len(found["table"]) == 6
    code, _, err = run("--experts", "d0")
    assert code == 2 and "It takes two experts" in err
    code, _, err = run("--layer", "magic")
    assert code == 2 and "The models have no layer 'magic'" in err
    code, _, err = run("--experts", "d0,nobody")
    assert code == 2 and "Choose two different experts" in err
