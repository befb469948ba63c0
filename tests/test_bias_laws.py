"""Biases solved together with their weights: least squares of [x, 1], and nothing else where nobody asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
from architectures import ARCHITECTURES
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_regmean_laws import Merge, Problem, all_alphas, assert_same, every_path, make_slot, problems
from test_token_counts import measure_on
from tiny_models import tiny_bert, tiny_gpt2, write_data, write_experts, write_model
from torch import nn

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.errors import StatisticError
from fusion_ui.merging.merge import merge_once
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.merging.slots import SlotSource
from fusion_ui.methods.regmean import RegMean
from fusion_ui.statistics.bundle import write_statistic
from fusion_ui.statistics.gram import append_ones
from fusion_ui.statistics.sharing import explain_revealing, find_revealing, keep_diagonals
from fusion_ui.statistics.statistic import StatisticKind, StatisticSettings
from fusion_ui.tasks import load_model
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.workspace import Workspace

TOLERANCE = 1e-9
NUM_TEXTS = 30
LAYER = "bert.encoder.layer.0"


def with_ones(x: oracles.Array) -> oracles.Array:
    return np.concatenate([x, np.ones((len(x), 1))], 1)


def solve(merge: Merge, problem: Problem, biases: oracles.Array, alpha: float) -> oracles.Array:
    """The merged [W; b], from Grams of x and sums of x as the statistics add them up."""
    grams = [append_ones(*map(torch.tensor, (x.T @ x, x.sum(0))), len(x)).numpy() for x in problem.rows]
    experts = [np.concatenate([w, b[None]]) for w, b in zip(problem.experts, biases, strict=True)]
    return merge(make_slot(grams, [len(x) for x in problem.rows], experts, problem.coefficients), alpha)[0]


def draw_biases(problem: Problem, seed: int) -> oracles.Array:
    count, num_out = len(problem.experts), problem.experts[0].shape[1]
    return np.random.default_rng(seed).standard_normal((count, num_out))


def shift(problem: Problem, offset: float) -> Problem:
    """The problem with inputs whose mean is not zero, so that weights and biases depend on each other."""
    return replace(problem, rows=tuple(x + offset * problem.scale.T for x in problem.rows))


def full_scale(problem: Problem) -> oracles.Array:
    return np.concatenate([problem.scale, np.ones((1, 1))])


@every_path
@given(problem=problems(), seed=st.integers(0, 2**32 - 1))
def test_alpha_1_is_least_squares_of_weight_and_bias_together(merge: Merge, problem: Problem, seed: int):
    problem = shift(problem, 0.7)
    biases = draw_biases(problem, seed)
    shares = [np.sqrt(c / len(x)) for c, x in zip(problem.coefficients, problem.rows, strict=True)]
    left = np.concatenate([s * with_ones(x / problem.scale.T) for s, x in zip(shares, problem.rows, strict=True)])
    answers = [x @ w + b for x, w, b in zip(problem.rows, problem.experts, biases, strict=True)]
    right = np.concatenate([s * y for s, y in zip(shares, answers, strict=True)])
    expected = np.linalg.lstsq(left, right, rcond=None)[0]
    assert_same(solve(merge, problem, biases, 1.0) * full_scale(problem), expected, tolerance=TOLERANCE)


@every_path
@given(problem=problems(), alpha=all_alphas, seed=st.integers(0, 2**32 - 1))
def test_smaller_alpha_scales_the_off_diagonal_of_the_ones_too(merge: Merge, problem: Problem, alpha: float, seed: int):
    problem = shift(problem, 0.7)
    biases = draw_biases(problem, seed)
    expected = oracles.regmean_by_least_squares(
        [with_ones(x) for x in problem.rows],
        [np.concatenate([w, b[None]]) for w, b in zip(problem.experts, biases, strict=True)],
        problem.coefficients,
        alpha,
    )
    assert_same(solve(merge, problem, biases, alpha), expected, full_scale(problem), TOLERANCE)


@every_path
@given(problem=problems(), seed=st.integers(0, 2**32 - 1))
def test_alpha_0_gives_the_mean_of_the_biases(merge: Merge, problem: Problem, seed: int):
    biases = draw_biases(problem, seed)
    expected = sum(c * b for c, b in zip(problem.coefficients, biases, strict=True))
    assert_same(solve(merge, problem, biases, 0.0)[-1], expected, tolerance=TOLERANCE)


def make_recipe(models: list[Path], folder: Path, **parameters: object) -> MergeRecipe:
    experts = []
    for i, model in enumerate(models):
        data = write_data(folder / f"{model.name}.csv", NUM_TEXTS, seed=i)
        experts.append({"name": model.name, "model": str(model), "calibration": {"data": str(data)}})
    return parse_recipe({"method": "regmean", "parameters": parameters, "experts": experts})


@pytest.mark.parametrize(
    "make", [tiny_bert, tiny_gpt2, ARCHITECTURES["Qwen2"], ARCHITECTURES["OPT"]], ids=["bert", "gpt2", "qwen2", "opt"]
)
def test_real_layers_get_the_least_squares_of_their_rows(make: Callable[[int], nn.Module], settings, tmp_path: Path):
    models = [write_model(tmp_path / f"e{i}", make(i)) for i in range(2)]
    workspace = Workspace(settings)
    plan = workspace.plan(make_recipe(models, tmp_path, alpha=0.9, with_bias=True))
    merged = workspace.export(plan, tmp_path / "merged")
    written = load_file(tmp_path / "merged" / "model.safetensors")
    states = [load_file(model / "model.safetensors") for model in models]
    assert written.keys() == states[0].keys() == merged.treatments.keys()
    rows = []
    for expert, source in zip(plan.experts, plan.calibration, strict=True):
        rows.append(
            oracles.rows_by_loop(load_model(expert), [t.ids for t in Tokenizer(expert, 128).encode(source.texts)])
        )
    num_biases = 0
    for name in rows[0]:
        bias = name.removesuffix("weight") + "bias"
        is_transposed = make is tiny_gpt2 and name != "score.weight"
        weights = [s[name].double().numpy() if is_transposed else s[name].double().numpy().T for s in states]
        inputs = [found[name] for found in rows]
        if bias in states[0]:
            num_biases += 1
            inputs = [with_ones(x) for x in inputs]
            weights = [
                np.concatenate([w, s[bias].double().numpy()[None]]) for w, s in zip(weights, states, strict=True)
            ]
        is_active = sum((x * x).sum(0) for x in inputs) > 0  # a ReLU leaves some out, which keep the mean
        expected = sum(weights) / 2
        expected[is_active] = oracles.regmean_by_least_squares(
            [x[:, is_active] for x in inputs], [w[is_active] for w in weights], [0.5, 0.5], 0.9
        )
        found = written[name].double().numpy() if is_transposed else written[name].double().numpy().T
        if bias in states[0]:
            found = np.concatenate([found, written[bias].double().numpy()[None]])
            assert merged.treatments[bias] == merged.treatments[name]
        size = np.linalg.norm(expected - sum(weights) / 2)
        assert np.linalg.norm(found - expected) < 1e-4 * size, name
    assert num_biases == {tiny_bert: 8, tiny_gpt2: 4}.get(make, num_biases) > 0
    others = merged.treatments.keys() - rows[0].keys() - {n.removesuffix("weight") + "bias" for n in rows[0]}
    assert {merged.treatments[name].path for name in others} == {"mean"}

    prepared = Workspace(settings)
    prepared.prepare(plan)
    again = prepared.merge(plan).tensors
    for name, tensor in again.items():
        torch.testing.assert_close(tensor, written[name], rtol=1e-3, atol=1e-4)


def test_without_the_option_nothing_changes_also_where_sums_were_measured(settings, tmp_path: Path):
    models = write_experts(tmp_path / "experts", 2)
    workspace = Workspace(settings)
    plain = workspace.plan(make_recipe(models, tmp_path))
    before = dict(workspace.merge(plain).tensors)
    how = StatisticSettings(input_sums=True)
    files = []
    for i, model in enumerate(models):
        files.append(tmp_path / f"{i}.safetensors")
        write_statistic(files[-1], measure_on(model, tmp_path, i, how, settings, NUM_TEXTS))
    recipe = plain.recipe
    experts = tuple(
        expert.model_copy(
            update={"calibration": expert.calibration.model_copy(update={"data": None, "statistics": str(f)})}
        )
        for expert, f in zip(recipe.experts, files, strict=True)
    )
    from_files = workspace.merge(workspace.plan(recipe.model_copy(update={"experts": experts})))
    assert all(torch.equal(tensor, before[name]) for name, tensor in from_files.tensors.items())
    assert from_files.treatments[f"{LAYER}.output.dense.bias"].path == "mean"
    changed = workspace.merge(plain.with_parameters(with_bias=True))
    differing = {name for name, tensor in changed.tensors.items() if not torch.equal(tensor, before[name])}
    assert {f"{LAYER}.output.dense.weight", f"{LAYER}.output.dense.bias"} <= differing
    assert not any("LayerNorm" in name or "embeddings" in name for name in differing)
    asked = workspace.plan(recipe.model_copy(update={"experts": experts, "parameters": {"with_bias": True}}))
    for name, tensor in workspace.merge(asked).tensors.items():
        torch.testing.assert_close(tensor, changed.tensors[name], rtol=1e-4, atol=1e-5)


def test_a_file_without_sums_is_refused_where_they_are_asked_for(settings, tmp_path: Path):
    (model,) = write_experts(tmp_path / "experts", 1)
    file = tmp_path / "plain.safetensors"
    write_statistic(file, measure_on(model, tmp_path, 0, StatisticSettings(), settings))
    experts = [{"name": "a", "model": str(model), "calibration": {"statistics": str(file)}}]
    recipe = parse_recipe({"method": "regmean", "parameters": {"with_bias": True}, "experts": experts})
    with pytest.raises(StatisticError, match=r"file of a holds no input sums.*--input-sums"):
        Workspace(settings).plan(recipe)


def test_sums_do_not_change_what_counts_as_revealing(settings, tmp_path: Path):
    (model,) = write_experts(tmp_path / "experts", 1)
    plain, summed = (
        measure_on(model, tmp_path, 0, StatisticSettings(input_sums=sums), settings, 16) for sums in (False, True)
    )
    assert find_revealing(plain) == find_revealing(summed) == []  # 16 texts, 16 features
    assert "averages" in explain_revealing(summed) and "averages" not in explain_revealing(plain)
    assert explain_revealing(keep_diagonals(summed)) == explain_revealing(keep_diagonals(plain))


def test_layers_with_and_without_a_bias_may_share_an_input(settings, tmp_path: Path):
    # As in Whisper, whose keys have no bias while queries and values have one.
    names = [f"{LAYER}.attention.self.{part}.weight" for part in ("key", "query", "value")]
    whole, lacking = [], []
    for i, model in enumerate(write_experts(tmp_path / "experts", 2)):
        whole.append(measure_on(model, tmp_path, i, StatisticSettings(input_sums=True), settings, NUM_TEXTS))
        tensors = load_file(model / "model.safetensors")
        del tensors[f"{LAYER}.attention.self.key.bias"]
        save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
        lacking.append(Checkpoint(model.name, model, str(model)))
    grams = [replace(s, checkpoint=e.fingerprint) for s, e in zip(whole, lacking, strict=True)]
    source = SlotSource(lacking, [0.5, 0.5], {StatisticKind.GRAM: grams}, with_bias=True)
    shapes = {slot.name: tuple(slot.experts.shape) for slot in source.slots(names)}
    assert shapes == {names[0]: (2, 16, 16), names[1]: (2, 16, 17), names[2]: (2, 16, 17)}
    slots = {slot.name: slot for slot in source.slots()}
    assert slots[names[1]].equations is slots[names[2]].equations is not slots[names[0]].equations
    assert [name for name in source.names if name in names] == names  # side by side, so that both factorise once
    merged = merge_once(source, RegMean(with_bias=True))
    assert merged.tensors[names[0]].shape == (16, 16) and merged.tensors.keys() == tensors.keys()
