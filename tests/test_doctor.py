"""The doctor: every number against numpy in float64, and a sentence for everything that was done otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from architectures import ARCHITECTURES
from oracles import Array
from safetensors.torch import load_file, save_file
from tiny_models import random_texts, tiny_bert, tiny_gpt2, write_data, write_model

import fusion_ui.merging.interference
from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.cli import main
from fusion_ui.errors import StoppedError
from fusion_ui.merging.doctor import FAR, MAX_ROUNDING, LayerReport, examine
from fusion_ui.merging.merge import PreparedMerge, merge_once
from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.merging.slots import SlotSource
from fusion_ui.methods.regmean import RegMean
from fusion_ui.methods.simple_mean import SimpleMean
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.statistics.sharing import leave_out
from fusion_ui.statistics.statistic import LinearInput, Statistic, StatisticKind, StatisticSettings
from fusion_ui.tasks import load_model
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.workspace import Workspace

ROUNDING = float(np.finfo(np.float32).eps)
ALPHAS = [0.0, 1e-6, 0.9, 0.999, 1.0]
OUTPUT = 1e-6
"""What the float32 of the merged weights themselves may cost, relative to their size."""


def norm(x: Array) -> float:
    return float(np.sqrt((x * x).sum()))


# One layer at a time: its inputs and weights are made up, written as checkpoints and measured as a file would hold.


def one_layer(
    folder: Path,
    rows: Sequence[Array],
    experts: Sequence[Array],
    dtype: torch.dtype = torch.float32,
    base: Array | None = None,
    coefficients: Sequence[float] | None = None,
) -> SlotSource:
    """Checkpoints of one linear weight (given as in x out) whose inputs were `rows`, Grams rounded to float32."""

    def write(name: str, weight: Array) -> Checkpoint:
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text('{"architectures": ["Layer"]}')
        save_file({"layer.weight": torch.tensor(weight.T.copy()).to(dtype)}, folder / name / "model.safetensors")
        return Checkpoint(name, folder / name, name)

    checkpoints = [write(f"e{i}", weight) for i, weight in enumerate(experts)]
    grams = [
        Statistic(
            StatisticKind.GRAM,
            checkpoint.fingerprint,
            "text",
            StatisticSettings(),
            len(x),
            len(x),
            {"x": torch.tensor(x.T @ x).float()},
            {"layer.weight": LinearInput("x", len(x))},
        )
        for checkpoint, x in zip(checkpoints, rows, strict=True)
    ]
    shares = coefficients or [1 / len(experts)] * len(experts)
    over = write("base", base) if base is not None else None
    return SlotSource(checkpoints, shares, {StatisticKind.GRAM: grams}, over)


def stored(source: SlotSource) -> list[Array]:
    """The experts as their files hold them, (in x out)."""
    return [e.tensors.read("layer.weight").double().numpy().T for e in source.experts]


def examine_layer(source: SlotSource, alpha: float, is_prepared: bool) -> tuple[Array, LayerReport]:
    """The merged weight (in x out) and its report."""
    method = RegMean(alpha=alpha)
    merged = PreparedMerge(source, RegMean).merge(method) if is_prepared else merge_once(source, method)
    (report,) = examine(source, merged, method)
    assert report.path == merged.treatments["layer.weight"].path
    return merged.tensors["layer.weight"].double().numpy().T, report


def make_rows(seed: int, num_rows: int, num_in: int) -> list[Array]:
    """Two experts' inputs, whose features differ in size by up to 2^6."""
    generator = np.random.default_rng(seed)
    scale = 2.0 ** generator.integers(-3, 4, num_in)
    return [generator.standard_normal((num_rows, num_in)) * scale for _ in range(2)]


def make_experts(seed: int, num_in: int, num_experts: int = 2) -> list[Array]:
    """Weights that have a large part in common, as fine-tuned ones do."""
    generator = np.random.default_rng(seed)
    common = generator.standard_normal((num_in, 3))
    return [common + 0.1 * generator.standard_normal((num_in, 3)) for _ in range(num_experts)]


every_path = pytest.mark.parametrize("is_prepared", [False, True], ids=["once", "prepared"])
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


# Whole models: the numbers of every layer against Grams taken by the oracle, text by text.


def plan_of(workspace: Workspace, models: Sequence[Path], base: Path | None = None, **change: Any) -> MergePlan:
    folder = workspace.settings.cache_dir.parent
    data = [write_data(folder / f"{model.name}.csv", 20, seed=i) for i, model in enumerate(models)]
    experts = [
        {"name": m.name, "model": str(m), "calibration": {"data": str(d)}} for m, d in zip(models, data, strict=True)
    ]
    value = {"method": "regmean", "parameters": {"alpha": 0.9}, "experts": experts, "base": base and str(base)}
    return workspace.plan(parse_recipe(value | change))


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace(settings)


def normalised(grams: Sequence[tuple[Array, int]], coefficients: Sequence[float]) -> Array:
    return sum(c * gram / count for (gram, count), c in zip(grams, coefficients, strict=True))


def with_alpha(total: Array, alpha: float) -> Array:
    return alpha * total + (1 - alpha) * np.diag(np.diag(total))


def condition_before(rows: Sequence[Array], coefficients: Sequence[float], alpha: float) -> float:
    total = normalised([(x.T @ x, len(x)) for x in rows], coefficients)
    return float(np.linalg.cond(with_alpha(total, alpha)))


def check_movement(found: Any, merged: Array, experts: Sequence[Array], base: Array | None, weights: Sequence[float]):
    mean = sum(c * w for c, w in zip(weights, experts, strict=True))
    reference = mean if base is None else base
    spread = np.sqrt(sum(c * norm(w - mean) ** 2 for c, w in zip(weights, experts, strict=True)))
    changes = [w - reference for w in experts]
    assert found.from_mean == pytest.approx(norm(merged - mean) / spread, rel=1e-5, abs=1e-6)
    distances = [norm(merged - w) / norm(change) for w, change in zip(experts, changes, strict=True)]
    assert found.from_experts == pytest.approx(distances, rel=1e-5, abs=1e-6)


@every_path
@pytest.mark.parametrize("has_base", [False, True], ids=["mean", "base"])
@pytest.mark.parametrize("make", [tiny_bert, tiny_gpt2])
def test_every_number_equals_numpys(workspace, tmp_path: Path, make: Callable, has_base: bool, is_prepared: bool):
    models = [write_model(tmp_path / f"e{i}", make(i)) for i in range(4)]
    plan = plan_of(workspace, models[:3], models[3] if has_base else None)
    weights, alpha = [0.5, 0.3, 0.2], 0.9
    entries = tuple(
        e.model_copy(update={"weight": w}) for e, w in zip(plan.recipe.experts, (5.0, 3.0, 2.0), strict=True)
    )
    plan = workspace.plan(plan.recipe.model_copy(update={"experts": entries}))
    if is_prepared:
        workspace.prepare(plan)
    reports = {report.name: report for report in workspace.examine(plan)}
    merged = workspace.merge(plan)
    texts = [[text.ids for text in Tokenizer(e, 128).encode(random_texts(20, i))] for i, e in enumerate(plan.experts)]
    grams = [oracles.grams_by_loop(load_model(e), text) for e, text in zip(plan.experts, texts, strict=True)]
    states = [load_file(model / "model.safetensors") for model in models]
    assert reports.keys() == merged.tensors.keys()
    for name, report in reports.items():
        is_conv = make is tiny_gpt2 and ".h." in name and name.endswith("weight") and "ln" not in name
        *experts, base = [s[name].double().numpy().T if not is_conv else s[name].double().numpy() for s in states]
        result = merged.tensors[name].double().numpy()
        result = result if is_conv else result.T
        over = base if has_base else None
        check_movement(report.movement, result, experts, over, weights)
        assert (report.path, report.reason) == (merged.treatments[name].path, merged.treatments[name].reason)
        if name not in grams[0]:
            assert (report.width, report.num_rows, report.conditioning, report.effect) == (0, (), None, None)
            assert report.attention == ()  # that a bias is the mean is as it should be
            continue
        counted = [gram[name] for gram in grams]
        total = normalised(counted, weights)
        assert report.shape == result.T.shape
        assert report.num_rows == tuple(count for _, count in counted) and report.width == len(total)
        size = np.sqrt(np.diag(total))
        check_movement(report.effect, result * size[:, None], [w * size[:, None] for w in experts],
                       None if over is None else over * size[:, None], weights)  # fmt: skip
        scaled = np.linalg.eigvalsh(with_alpha(total / np.outer(size, size), alpha))
        assert report.conditioning.after == pytest.approx(scaled[-1] / scaled[0], rel=1e-4)
        assert report.conditioning.smallest == pytest.approx(scaled[0], rel=1e-4)
        assert report.conditioning.before == pytest.approx(np.linalg.cond(with_alpha(total, alpha)), rel=1e-3)
        rows = [count for _, count in counted]
        assert (min(rows) < len(total)) == any("features (" in sentence for sentence in report.attention)
    assert sum(report.conditioning is not None for report in reports.values()) == len(grams[0])


def test_shared_inputs_are_decomposed_once(workspace, tmp_path: Path, monkeypatch):
    models = [write_model(tmp_path / f"e{i}", tiny_bert(i)) for i in range(2)]
    plan = plan_of(workspace, models)
    workspace.merge(plan)
    calls: list[int] = []
    real = torch.linalg.eigvalsh
    monkeypatch.setattr(torch.linalg, "eigvalsh", lambda matrix: calls.append(len(matrix)) or real(matrix))
    reports = workspace.examine(plan)
    # Query, key and value share one input; the pooler sees the first token, the classifier what the pooler says.
    assert sorted(calls) == [16, 16] * 5 + [32, 32]
    assert sum(report.conditioning is not None for report in reports) == 8
    assert workspace.examine(plan) is reports and len(calls) == 12  # and the whole is kept


def test_reports_are_kept_for_the_names_that_stand_in_their_sentences(workspace, tmp_path: Path):
    models = [write_model(tmp_path / f"e{i}", tiny_bert(i)) for i in range(2)]
    plan = plan_of(workspace, models, statistics={"num_examples": 3})
    renamed = plan.recipe.model_copy(
        update={"experts": tuple(e.model_copy(update={"name": f"my {e.name}"}) for e in plan.recipe.experts)}
    )
    other = workspace.plan(renamed)
    assert other.key == plan.key
    for found, names in ((plan, "(e0, e1)"), (other, "(my e0, my e1)")):
        assert any(names in sentence for report in workspace.examine(found) for sentence in report.attention)


def test_examining_reports_progress_and_can_be_stopped(workspace, tmp_path: Path):
    plan = plan_of(workspace, [write_model(tmp_path / f"e{i}", tiny_bert(i)) for i in range(2)])
    merged = workspace.merge(plan)
    source = workspace._source(plan, Progress(), 0.5)[0]
    seen: list[float] = []

    def report(fraction: float, _: str) -> None:
        seen.append(fraction)
        if len(seen) == 5:
            progress.stop()

    progress = Progress(report)
    with pytest.raises(StoppedError):
        examine(source, merged, plan.method, plan.rules, progress)
    assert len(seen) == 5 and seen == sorted(seen) and seen[-1] < 1


def test_parameters_come_in_the_order_in_which_the_model_computes(workspace, tmp_path: Path):
    models = [write_model(tmp_path / f"e{i}", ARCHITECTURES["T5"](i)) for i in range(2)]
    names = [report.name for report in workspace.examine(plan_of(workspace, models))]
    blocks = [name.split(".")[1] + name.split(".")[3] for name in names if ".block." in name]
    assert list(dict.fromkeys(blocks)) == ["encoder0", "encoder1", "decoder0", "decoder1"]
    assert names[0] == "transformer.shared.weight" and names[-1].startswith("classification_head")


def test_what_a_rule_did_needs_no_attention_and_an_override_is_what_was_solved(workspace, tmp_path: Path):
    models = [write_model(tmp_path / f"e{i}", tiny_bert(i)) for i in range(2)]
    rules = [{"parameters": "head", "merge": "mean"}, {"parameters": "ffn", "overrides": {"alpha": 0.25}}]
    reports = workspace.examine(plan_of(workspace, models, rules=rules, statistics={"num_examples": 3}))
    for report in reports:
        if report.group == "head":
            assert report.conditioning is None and report.attention == ()
            assert report.reason == "kept the mean: rule 'head'" and (len(report.shape) < 2 or report.num_rows)
        elif report.conditioning:
            assert report.alpha == (0.25 if report.group == "ffn" else 0.9)
            assert report.conditioning.smallest >= 1 - report.alpha - 1e-6


def test_layers_without_a_whole_gram_say_why(workspace, tmp_path: Path):
    # DeBERTa's key and query projections are called on relative positions too, which are no text.
    models = [write_model(tmp_path / f"e{i}", ARCHITECTURES["DeBERTa-v2"](i)) for i in range(2)]
    plan = plan_of(workspace, models)
    reports = {report.name: report for report in workspace.examine(plan)}
    query = reports["deberta.encoder.layer.0.attention.self.query_proj.weight"]
    assert query.path == "cholesky" and any("are not tokens, were left out" in s for s in query.attention)
    # And an owner may leave a layer out of what is shared.
    source = workspace._source(plan, Progress(), 0.5)[0]
    left = [leave_out(statistic, [query.name]) for statistic in source.statistics[StatisticKind.GRAM]]
    source = SlotSource(plan.experts, (0.5, 0.5), {StatisticKind.GRAM: left})
    (found,) = [r for r in examine(source, merge_once(source, RegMean()), RegMean()) if r.name == query.name]
    assert found.path == "mean" and found.attention == (
        "merged as the mean because its owner left the Gram out: 0 rows were too few to share".replace(
            "0 rows", f"{query.num_rows[0]} rows"
        ),
    )


def test_a_method_without_grams_has_distances_alone(workspace, tmp_path: Path):
    models = [write_model(tmp_path / f"e{i}", tiny_bert(i)) for i in range(3)]
    plan = plan_of(workspace, models[:2], models[2], method="simple_mean", parameters={})
    for report in workspace.examine(plan):
        assert (report.path, report.conditioning, report.attention) == ("mean", None, ())
        assert report.movement.from_mean == pytest.approx(0, abs=1e-6)
    assert SimpleMean.requires == frozenset()


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


# The command line.


@pytest.fixture
def recipe_file(tmp_path: Path, monkeypatch) -> Callable[..., Path]:
    """Writes a recipe of two tiny BERTs; the command line finds an empty cache."""
    monkeypatch.setenv("FUSION_UI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("fusion_ui.cli.arguments.read_settings", lambda: Settings(cache_dir=tmp_path / "cache"))

    def write(models: Sequence[Path], **change: Any) -> Path:
        data = write_data(tmp_path / "data.csv", 3)
        experts = [{"name": m.name, "model": str(m), "calibration": {"data": str(data)}} for m in models]
        (tmp_path / "recipe.json").write_text(json.dumps({"method": "regmean", "experts": experts} | change))
        return tmp_path / "recipe.json"

    return write


def test_the_command_prints_a_table_and_the_sentences(recipe_file, tmp_path: Path, capsys):
    path = recipe_file([write_model(tmp_path / f"e{i}", tiny_bert(i, hidden_size=32)) for i in range(2)])
    with pytest.raises(SystemExit) as ended:
        main(["doctor", str(path), "--set", "alpha=1"])
    assert not ended.value.code
    table, sentences = capsys.readouterr().out.split("other parameters")
    lines = table.splitlines()
    assert lines[0].split() == [
        "path",
        "rows/width",
        "condition",
        "scaled",
        "smallest",
        "dead",
        "cut",
        "moved",
        "cosine",
        "apart",
        "opposed",
    ]
    assert len(lines) == 1 + 8 + 1 and len({len(line) for line in lines[:-1]}) == 1
    assert lines[1].split()[:3] == ["bert.encoder.layer.0.attention.self.query", "eigen", "30/32"]
    assert "- bert.pooler.dense.weight" in sentences and "saw 3 rows for 32 features (e0, e1)" in sentences
    assert "directions were cut off at alpha 1" in sentences
    with pytest.raises(SystemExit):
        main(["doctor", str(path), "--json"])
    reports = json.loads(capsys.readouterr().out)
    query = next(report for report in reports if report["kind"] == "query" and len(report["shape"]) == 2)
    assert query["alpha"] == 0.9 and query["conditioning"]["smallest"] >= 0.1 - 1e-6


@pytest.mark.parametrize("command", [["doctor"], ["merge", "--out", "out"]], ids=["doctor", "merge"])
def test_an_expert_with_nan_is_refused_by_its_name_and_tensor(recipe_file, tmp_path: Path, capsys, command: list[str]):
    name = "bert.encoder.layer.0.output.dense.weight"
    broken = tiny_bert(1).state_dict()[name].clone()
    broken[3, 5] = torch.nan
    models = [write_model(tmp_path / "good", tiny_bert(0)), write_model(tmp_path / "bad", tiny_bert(1), {name: broken})]
    arguments = [str(tmp_path / "out") if text == "out" else text for text in command]
    with pytest.raises(SystemExit) as ended:
        main([arguments[0], str(recipe_file(models)), *arguments[1:]])
    assert ended.value.code == 2 and not (tmp_path / "out").exists()
    message = capsys.readouterr().err
    assert f"bad cannot be merged: its tensor {name} has entries that are not finite numbers" in message
