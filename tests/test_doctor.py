"""The doctor: every number against numpy in float64, and a sentence for everything that was done otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from architectures import ARCHITECTURES
from doctored_layers import every_path, norm, normalised, with_alpha
from oracles import Array
from safetensors.torch import load_file
from tiny_models import random_texts, tiny_bert, tiny_gpt2, write_data, write_model

from fusion_ui.errors import StoppedError
from fusion_ui.merging.doctor import examine
from fusion_ui.merging.merge import merge_once
from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.merging.slots import SlotSource
from fusion_ui.methods.regmean import RegMean
from fusion_ui.methods.simple_mean import SimpleMean
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.statistics.sharing import leave_out
from fusion_ui.statistics.statistic import StatisticKind
from fusion_ui.tasks import load_model
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.workspace import Workspace

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
