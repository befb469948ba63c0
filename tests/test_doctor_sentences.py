"""Nothing falls back without standing there: a sentence for every path but the method's own, and for what is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from doctored_layers import make_experts, one_layer
from oracles import Array
from safetensors.torch import save_file
from tiny_models import tiny_bert, write_data, write_model

import fusion_ui.methods.karcher
from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.merging.doctor import examine
from fusion_ui.merging.layer_report import LayerReport
from fusion_ui.merging.merge import merge_once
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.merging.rules import ParameterRules, Rule
from fusion_ui.merging.slots import SlotSource
from fusion_ui.methods import make_method
from fusion_ui.statistics.statistic import StatisticKind
from fusion_ui.workspace import Workspace

TABLE = "embeddings.word_embeddings.weight"


def examined(
    folder: Path, method: str, experts: Sequence[Array], base: Array | None = None, name: str = "layer.weight", **values
) -> LayerReport:
    """The report on one parameter, given as the checkpoint stores it, that was merged without statistics."""

    def write(title: str, weight: Array) -> Checkpoint:
        (folder / title).mkdir()
        (folder / title / "config.json").write_text('{"architectures": ["Layer"]}')
        save_file({name: torch.tensor(np.asarray(weight)).float()}, folder / title / "model.safetensors")
        return Checkpoint(title, folder / title, title)

    found = [write(f"e{i}", weight) for i, weight in enumerate(experts)]
    start = None if base is None else write("base", base)
    source = SlotSource(found, [1 / len(found)] * len(found), {}, start)
    merged, made = merge_once(source, make_method(method, values)), make_method(method, values)
    return examine(source, merged, made)[0]


def random_weights(*shape: int, count: int = 3) -> list[Array]:
    return [np.random.default_rng(i).standard_normal(shape) for i in range(count)]


def test_model_stock_says_where_it_keeps_the_base(tmp_path: Path):
    base, change, _ = random_weights(4, 6)
    report = examined(tmp_path, "model_stock", [base + change, base - change], base)
    assert report.attention == (
        "kept as the base model has it because task vectors point away from each other, cosine -1",
    )


@pytest.mark.parametrize(
    ("factor", "why"),
    [
        (2.0, "the experts' directions are parallel"),
        (-1.0, "the experts' directions are opposite, with no shortest arc"),
        (0.0, "an expert is zero here and has no direction"),
    ],
)
def test_slerp_says_where_it_goes_straight(tmp_path: Path, factor: float, why: str):
    weight = random_weights(4, 6)[0].astype(np.float32)
    report = examined(tmp_path, "slerp", [weight, factor * weight])
    assert report.attention == (f"mixed along the straight line and not along the arc because {why}",)


def test_the_karcher_mean_says_where_it_has_not_converged(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(fusion_ui.methods.karcher, "MAX_STEPS", 1)
    (sentence,) = examined(tmp_path, "karcher", random_weights(4, 6)).attention
    assert sentence.startswith("not converged: step 1 still moved it by ")


def test_the_karcher_mean_says_where_it_took_the_mean(tmp_path: Path):
    weight = random_weights(4, 6)[0]
    (sentence,) = examined(tmp_path, "karcher", [weight, -weight]).attention
    assert sentence == "merged as the mean because the experts' directions are opposite and have no centre"


@pytest.mark.parametrize("method", ["iso_c", "tsv_merge"])
def test_methods_on_directions_say_where_they_took_the_mean_task_vector(tmp_path: Path, method: str):
    base, *experts = random_weights(5, 3)
    report = examined(tmp_path, method, experts, base, TABLE)
    assert report.attention == ("moved by the mean task vector because not the weight of a linear layer",)


def test_tsv_merge_says_where_a_matrix_is_too_narrow(tmp_path: Path):
    base, *experts = random_weights(2, 5, count=4)
    report = examined(tmp_path, "tsv_merge", experts, base)
    assert report.attention == ("moved by the mean task vector because fewer rows or columns than experts",)


@pytest.mark.parametrize("method", ["iso_c", "tsv_merge"])
def test_that_a_bias_moves_by_the_mean_is_as_it_should_be(tmp_path: Path, method: str):
    base, *experts = random_weights(5)
    assert examined(tmp_path, method, experts, base, "layer.bias").attention == ()


@pytest.mark.parametrize("method", ["iso_c", "tsv_merge"])
def test_directions_left_out_are_counted(tmp_path: Path, method: str):
    base = random_weights(6, 8)[0].astype(np.float32)
    experts = [base + np.outer(*pair) for pair in zip(random_weights(6, count=2), random_weights(8), strict=False)]
    report = examined(tmp_path, method, experts, base)
    assert report.num_cut == 4 and report.conditioning is None
    (sentence,) = report.attention
    assert sentence.startswith("4 directions were left out: rounding alone may have made them")


@pytest.mark.parametrize("method", ["iso_c", "tsv_merge"])
def test_changes_within_rounding_keep_the_base_and_it_is_said(tmp_path: Path, method: str):
    base = random_weights(6, 8)[0].astype(np.float32)
    experts = [np.nextafter(base, np.float32(sign * math.inf)) for sign in (1, -1)]
    report = examined(tmp_path, method, experts, base)
    assert report.path == "base"
    assert report.attention[0] == (
        "kept as the base model has it because no change of the experts is larger than what rounding may have made"
    )


@pytest.mark.parametrize("method", ["slerp", "iso_c", "tsv_merge", "data_free_regmean", "model_stock", "fisher"])
def test_what_no_expert_changed_needs_no_look(tmp_path: Path, method: str):
    base = random_weights(4, 6)[0]
    assert examined(tmp_path, method, [base, base], base).attention == ()


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_data_free_regmean_is_conditioned_as_its_surrogates_are(tmp_path: Path, alpha: float):
    base, *changes = [weight.astype(np.float32) for weight in random_weights(2, 8)]
    for change in changes:
        change[:, [2, 5]] = 0  # input features that nobody's training touched
    experts = [base + change for change in changes]
    report = examined(tmp_path, "data_free_regmean", experts, base, alpha=alpha)
    vectors = [(expert - base).astype(np.float64) for expert in experts]
    total = sum(v.T @ v / np.trace(v.T @ v) for v in vectors) / 2
    size = np.sqrt(np.diag(total))
    alive = size > 0
    scaled = np.eye(8)
    scaled[np.ix_(alive, alive)] = (total[np.ix_(alive, alive)] / np.outer(size[alive], size[alive])) * alpha
    np.fill_diagonal(scaled, 1.0)
    values = np.linalg.eigvalsh(scaled)
    assert report.conditioning is not None and report.alpha == alpha and report.num_rows == ()
    assert report.conditioning.smallest == pytest.approx(values[0], abs=1e-6)
    assert report.num_dead == 2
    assert report.attention[0] == "2 features were changed by no expert: their weights stay"
    # Two updates of two rows each span four of the six directions that are left.
    assert report.num_cut == (2 if alpha == 1 else 0)
    cut = "2 directions were cut off at alpha 1, where the task vectors do not determine the merge: there it keeps"
    assert any(sentence.startswith(cut) for sentence in report.attention) == (alpha == 1)


def test_dead_features_of_diagonal_regmean_are_said(tmp_path: Path):
    rows = [np.random.default_rng(i).standard_normal((50, 6)) for i in range(2)]
    for x in rows:
        x[:, 4] = 0
    source = one_layer(tmp_path, rows, make_experts(5, 6))
    method = make_method("diagonal_regmean", {})
    (report,) = examine(source, merge_once(source, method), method)
    assert report.conditioning is None
    assert report.attention == ("1 feature was never active: their weights keep the mean",)


def whole_report(settings: Any, tmp_path: Path, **change: Any) -> dict[str, LayerReport]:
    workspace, data = Workspace(settings), write_data(tmp_path / "data.csv", 3)
    models = [write_model(tmp_path / f"e{i}", tiny_bert(i)) for i in range(2)]
    experts = [{"name": m.name, "model": str(m), "calibration": {"data": str(data)}} for m in models]
    plan = workspace.plan(parse_recipe({"experts": experts} | change))
    return {report.name: report for report in workspace.examine(plan)}


def test_entries_without_fisher_information_are_counted(settings, tmp_path: Path):
    reports = whole_report(settings, tmp_path, method="fisher")
    words = reports["bert.embeddings.word_embeddings.weight"]
    assert words.num_flat > 0  # of words that three texts do not use
    assert f"{words.num_flat} entries have no Fisher information in any expert and keep the mean" in words.attention[0]


def test_tokens_that_never_occur_are_counted(settings, tmp_path: Path):
    reports = whole_report(settings, tmp_path, method="regmean", parameters={"embeddings": True})
    words = reports["bert.embeddings.word_embeddings.weight"]
    assert words.path == "counts" and words.num_dead > 0
    assert words.attention == (f"{words.num_dead} tokens occur in no expert's text: their rows keep the mean",)


def test_what_a_rule_changed_is_no_fallback(tmp_path: Path):
    base, *experts = random_weights(6, 8)
    rows = [np.random.default_rng(i).standard_normal((50, 6)) for i in range(2)]
    source = one_layer(tmp_path, rows, experts, base=base)
    source = SlotSource(source.experts, source.weights, {}, source.base)
    assert StatisticKind.GRAM not in source.statistics
    rules = ParameterRules((Rule(parameters="*", overrides={"scaling_coefficient": 0.5}),))
    method = make_method("iso_c", {})
    (report,) = examine(source, merge_once(source, method, rules=rules), method, rules)
    assert report.reason == "scaling_coefficient = 0.5: rule '*'" and report.attention == ()
