"""What the doctor says where a layer's equations are hard: the merge is within the error that is stated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
from doctored_layers import (
    condition_before,
    every_path,
    examine_layer,
    make_experts,
    make_rows,
    norm,
    one_layer,
    stored,
)
from oracles import Array

import fusion_ui.merging.interference
from fusion_ui.merging.attention import FAR, MAX_ROUNDING
from fusion_ui.merging.layer_report import LayerReport

ROUNDING = float(np.finfo(np.float32).eps)


ALPHAS = [0.0, 1e-6, 0.9, 0.999, 1.0]


OUTPUT = 1e-6
"""What the float32 of the merged weights themselves may cost, relative to their size."""


every_alpha = pytest.mark.parametrize("alpha", ALPHAS)


every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)


def check_within_stated_error(
    rows: Sequence[Array], experts: Sequence[Array], merged: Array, report: LayerReport, expected: Array
) -> None:
    """The error, by its outputs, is within condition number times rounding of what the merge changed."""
    scale = np.sqrt(sum((x * x).mean(0) for x in rows) / len(rows))[:, None]
    mean = sum(experts) / len(experts)
    bound = report.conditioning.after * ROUNDING * norm((expected - mean) * scale) + OUTPUT * norm(expected * scale)
    assert norm((merged - expected) * scale) <= bound


@every_path
@every_alpha
@every_dtype
def test_40_tokens_in_384_dimensions(tmp_path: Path, alpha: float, dtype: torch.dtype, is_prepared: bool):
    rows = make_rows(0, 40, 384)
    source = one_layer(tmp_path, rows, make_experts(1, 384), dtype)
    merged, report = examine_layer(source, alpha, is_prepared)
    assert np.isfinite(merged).all()
    assert (report.num_rows, report.width, report.alpha) == ((40, 40), 384, alpha)
    assert report.attention[0] == (
        "saw 40 rows for 384 features (e0, e1): too few to tell the features apart, so alpha decides much here. "
        "Calibrate on more text"
    )
    experts = stored(source)
    if alpha < 1:
        assert report.num_cut == 0 and report.conditioning.smallest == pytest.approx(1 - alpha, abs=1e-5)
        expected = oracles.regmean_by_least_squares(rows, experts, [0.5, 0.5], alpha)
        check_within_stated_error(rows, experts, merged, report, expected)
    else:
        # Twice forty rows span eighty directions; in the others the merge keeps the mean, and in those it is exact.
        assert report.num_cut == 304 and report.conditioning.before is None and report.path == "eigen"
        sentence = "304 directions were cut off at alpha 1, where the text does not determine the merge: there it keeps"
        assert any(found.startswith(sentence) for found in report.attention)
        for x, expert in zip(rows, experts, strict=True):
            bound = report.conditioning.after * ROUNDING * norm(x @ (expert - sum(experts) / 2)) + OUTPUT * norm(
                x @ expert
            )
            assert norm(x @ merged - x @ expert) <= bound


@every_path
@every_alpha
def test_one_constant_direction_behind_a_layer_norm(tmp_path: Path, alpha: float, is_prepared: bool):
    rows = [x - x.mean(1, keepdims=True) for x in np.random.default_rng(2).standard_normal((2, 2000, 64))]
    source = one_layer(tmp_path, rows, make_experts(3, 64))
    merged, report = examine_layer(source, alpha, is_prepared)
    experts = stored(source)
    assert np.isfinite(merged).all() and report.num_dead == 0
    if alpha == 1:
        assert (report.num_cut, report.conditioning.before) == (1, None)
        assert abs(report.conditioning.smallest) < 1e-5 < 1 / report.conditioning.after
        assert report.attention == (
            "1 direction was cut off at alpha 1, where the text does not determine the merge: there it keeps the mean",
        )
        # It is the mean there, and the best fit elsewhere: least squares on rows that pin that direction to the mean.
        # The direction's coordinate is counted by the features' mean squares, as everything is after scaling.
        mean, constant = sum(experts) / 2, sum((x * x).mean(0) for x in rows)[None] / 16
        pinned = [np.concatenate([x, np.sqrt(len(x)) * constant]) for x in rows]
        targets = [
            np.concatenate([x @ w, np.sqrt(len(x)) * constant @ mean]) for x, w in zip(rows, experts, strict=True)
        ]
        q, r = np.linalg.qr(np.concatenate(pinned))
        expected = np.linalg.solve(r, q.T @ np.concatenate(targets))
    else:
        assert (report.num_cut, report.attention) == (0, ())
        expected = oracles.regmean_by_least_squares(rows, experts, [0.5, 0.5], alpha)
    check_within_stated_error(rows, experts, merged, report, expected)


@every_path
@every_alpha
@every_dtype
def test_features_never_active(tmp_path: Path, alpha: float, dtype: torch.dtype, is_prepared: bool):
    rows = make_rows(4, 300, 12)
    for x in rows:
        x[:, [3, 7]] = 0
    source = one_layer(tmp_path, rows, make_experts(5, 12), dtype)
    merged, report = examine_layer(source, alpha, is_prepared)
    experts, alive = stored(source), [i for i in range(12) if i not in (3, 7)]
    assert (report.num_dead, report.num_cut) == (2, 0)
    assert report.attention == ("2 features were never active: their weights keep the mean",)
    np.testing.assert_allclose(merged[[3, 7]], (sum(experts) / 2)[[3, 7]], rtol=1e-6)
    living = [x[:, alive] for x in rows]
    expected = oracles.regmean_by_least_squares(living, [w[alive] for w in experts], [0.5, 0.5], alpha)
    check_within_stated_error(living, [w[alive] for w in experts], merged[alive], report, expected)
    assert report.conditioning.before == pytest.approx(condition_before(living, [0.5, 0.5], alpha), rel=1e-3)


@pytest.mark.parametrize(("gap", "is_said"), [(1e-4, False), (3e-6, True)])
def test_equations_that_rounding_decides_are_called_ill_conditioned(tmp_path: Path, gap: float, is_said: bool):
    # Two features that are nearly the same one: the condition number of [1 1-g; 1-g 1] is 2 / g.
    x = np.random.default_rng(6).standard_normal((2, 500, 1))
    rows = [np.concatenate([a, a + np.sqrt(2 * gap) * np.roll(a, 1)], 1) for a in x]
    _, report = examine_layer(one_layer(tmp_path, rows, make_experts(7, 2)), 1.0, True)
    assert report.conditioning.after == pytest.approx(2 / gap, rel=0.2)
    assert (report.conditioning.after * ROUNDING > MAX_ROUNDING) == is_said
    assert any(sentence.startswith("ill-conditioned: ") for sentence in report.attention) == is_said


def test_a_merge_far_outside_of_its_experts_is_said(tmp_path: Path):
    # The first expert's features are nearly the same one, so its fit is as good far away; the second asks it to go.
    x = np.random.default_rng(8).standard_normal((400, 1))
    rows = [np.concatenate([x, x + 1e-2 * np.roll(x, 1)], 1), np.concatenate([x, np.roll(x, 1)], 1)]
    experts = [np.array([[1.0], [-1.0]]), np.array([[0.99], [-1.01]])]
    source = one_layer(tmp_path, [rows[0], rows[0] * [1.0, 0.98]], experts)
    _, report = examine_layer(source, 1.0, True)
    assert report.effect.from_mean > FAR
    assert any("moved more than 3 times as far from the mean" in sentence for sentence in report.attention)
    assert examine_layer(source, 0.5, True)[1].attention == ()


def test_what_no_expert_changed_has_no_distance(tmp_path: Path, monkeypatch):
    same = np.random.default_rng(9).standard_normal((12, 3))
    rows, changed = make_rows(10, 100, 12), make_experts(11, 12)
    _, report = examine_layer(one_layer(tmp_path / "same", rows, [same] * 2), 0.9, False)
    assert report.movement.from_mean is None and report.movement.from_experts == (None, None)
    assert report.interference.cosine(0, 1) is None and report.interference.mean_cosine is None
    _, report = examine_layer(one_layer(tmp_path / "base", rows, [same] * 2, base=changed[0]), 0.9, False)
    assert report.movement.from_mean is None  # the experts are one point, but they did leave the base
    assert report.movement.from_experts == pytest.approx((0, 0), abs=1e-6)
    assert report.interference.cosine(0, 1) == pytest.approx(1)
    _, report = examine_layer(one_layer(tmp_path / "one", rows, [same, changed[0]], base=same), 0.9, False)
    assert report.movement.from_experts[0] is None and report.interference.mean_cosine is None
    # Two experts about their mean always point apart, which says nothing, as the description has it.
    source = one_layer(tmp_path / "two", rows, changed)
    _, report = examine_layer(source, 0.9, False)
    assert report.interference.mean_cosine == pytest.approx(-1)
    # However the parameter is cut into blocks.
    monkeypatch.setattr(fusion_ui.merging.interference, "BLOCK", 7)
    _, again = examine_layer(source, 0.9, False)
    for one, other in ((again.movement, report.movement), (again.effect, report.effect)):
        assert one.from_mean == pytest.approx(other.from_mean)
        assert one.from_experts == pytest.approx(other.from_experts)
