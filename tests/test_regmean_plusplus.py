"""RegMean++: the same as merging one layer after the other by hand, on every architecture that has such layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
from architectures import ARCHITECTURES
from safetensors.torch import load_file
from staged_merges import make_recipe, write_all
from test_architectures import ALPHA, NUM_TEXTS, write_texts
from tiny_models import random_texts, tiny_bert, write_model

from fusion_ui.domains.domain import Domain
from fusion_ui.errors import RecipeError, StoppedError
from fusion_ui.merging.preflight import check_recipe
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.methods.regmean_plusplus import RegMeanPlusPlus
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.statistics import measure as measure_module
from fusion_ui.statistics.bundle import write_statistic
from fusion_ui.statistics.measure import measure
from fusion_ui.statistics.stages import BlockRelay
from fusion_ui.statistics.statistic import StatisticKind, StatisticSettings
from fusion_ui.tasks import load_model
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.workspace import Workspace

WORDS = "bert.embeddings.word_embeddings.weight"


def test_it_is_the_papers_algorithm_on_bert(settings: Settings, tmp_path: Path):
    # Three experts of unlike weight, each layer called on its own in float64 without masks or batches.
    directories, data = write_all(tmp_path, [ARCHITECTURES["BERT"](i) for i in range(3)])
    recipe = make_recipe(directories, data, alpha=0.8)
    weights = (0.5, 0.3, 0.2)
    experts = tuple(e.model_copy(update={"weight": w}) for e, w in zip(recipe.experts, weights, strict=True))
    workspace = Workspace(settings)
    plan = workspace.plan(recipe.model_copy(update={"experts": experts}))
    merged = workspace.merge(plan)
    texts = [[t.ids for t in Tokenizer(e, 128).encode(random_texts(NUM_TEXTS, i))] for i, e in enumerate(plan.experts)]
    expected = oracles.regmean_plusplus_of_bert(
        [load_model(expert).double() for expert in plan.experts], texts, weights, 0.8
    )
    assert expected.keys() == merged.tensors.keys()
    for name, tensor in merged.tensors.items():
        np.testing.assert_allclose(tensor.numpy(), expected[name], atol=2e-4, err_msg=name)


def test_the_first_layer_behind_frozen_embeddings_is_regmeans_and_the_second_is_not(settings, tmp_path: Path):
    models = [ARCHITECTURES["BERT"](i) for i in range(2)]
    frozen = {name: p for name, p in models[0].state_dict().items() if "embeddings" in name}
    directories = [write_model(tmp_path / f"expert{i}", model, frozen) for i, model in enumerate(models)]
    data = [write_texts(tmp_path / f"data{i}.csv", seed=i) for i in range(2)]
    workspace = Workspace(settings)
    recipe = make_recipe(directories, data)
    layered = workspace.merge(workspace.plan(recipe)).tensors
    plain = workspace.merge(workspace.plan(recipe.model_copy(update={"method": "regmean"}))).tensors
    for name, tensor in layered.items():
        if name in frozen or ".layer.0." in name:
            torch.testing.assert_close(tensor, plain[name], rtol=1e-5, atol=1e-5, msg=name)
        elif name.endswith(("query.weight", "dense.weight", "classifier.weight")):
            assert (tensor - plain[name]).norm() > 1e-2 * plain[name].norm(), name


def test_one_expert_and_identical_experts_give_the_expert(settings, tmp_path: Path):
    (one, *_), data = write_all(tmp_path, [ARCHITECTURES["BERT"](0), ARCHITECTURES["BERT"](0)])
    expected, workspace = load_file(one / "model.safetensors"), Workspace(settings)
    twin = write_model(tmp_path / "twin", ARCHITECTURES["BERT"](0))
    for models in ([one], [one, twin]):
        for alpha in (0.0, 0.9, 1.0):
            plan = workspace.plan(make_recipe(models, data[: len(models)], alpha))
            for name, tensor in workspace.merge(plan).tensors.items():
                torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)


def test_the_same_recipe_gives_the_same_bits_in_memory_and_on_disk(settings, tmp_path: Path):
    directories, data = write_all(tmp_path, [ARCHITECTURES["BERT"](i) for i in range(2)])
    first, second = Workspace(settings), Workspace(settings)
    plan = first.plan(make_recipe(directories, data))
    first.prepare(plan)  # there is nothing to prepare
    merged = first.merge(plan).tensors
    second.export(plan, tmp_path / "out")
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in merged.items())
    card = (tmp_path / "out" / "README.md").read_text()
    assert "RegMean++" in card and "without their training data" not in card and "text of every" in card


def test_a_workspace_measures_it_by_merging_and_keeps_it_apart_from_quick_merges(settings, tmp_path: Path):
    directories, data = write_all(tmp_path, [ARCHITECTURES["BERT"](i) for i in range(2)])
    workspace = Workspace(settings)
    recipe = make_recipe(directories, data)
    plan = workspace.plan(recipe)
    assert not workspace.is_measured(plan)
    workspace.measure(plan)
    assert workspace.is_measured(plan) and workspace.merge_seconds(plan) > 0
    kept = workspace.merge(plan)
    mean = workspace.plan(recipe.model_copy(update={"method": "simple_mean", "parameters": {}}))
    for weight in (1.0, 2.0, 3.0):
        experts = (mean.recipe.experts[0].model_copy(update={"weight": weight}), mean.recipe.experts[1])
        workspace.merge(workspace.plan(mean.recipe.model_copy(update={"experts": experts})))
    assert workspace.merge(plan) is kept
    # Nothing is shared between two values of alpha, so work on one says nothing about the other.
    other = plan.with_parameters(alpha=0.3)
    assert other.family_key != plan.family_key and other.key != plan.key and not workspace.is_measured(other)
    assert plan.with_parameters(alpha=ALPHA).key == plan.key

    domain = Domain("d", "d", "report", random_texts(8, 9), ("positive",) * 8)
    evaluation = workspace.evaluation_of([domain], plan)
    (*_, last) = workspace.evaluate([workspace.candidate(plan)], evaluation, ["d"])
    assert last.is_complete and last.candidate.title == "RegMean++ α=0.9"
    values = [value for value, _ in workspace.sweep(plan, "alpha", [0.0, 0.9], evaluation, ["d"])]
    assert values == [0.0, 0.9]


def test_it_needs_text_and_no_statistics_file_stands_for_it(settings, tmp_path: Path):
    directories, data = write_all(tmp_path, [ARCHITECTURES["BERT"](i) for i in range(2)])
    workspace = Workspace(settings)
    plan = workspace.plan(make_recipe(directories, data))
    statistic = measure(plan.experts[0], plan.calibration[0], StatisticKind.GRAM, StatisticSettings(8), settings)
    write_statistic(tmp_path / "gram.safetensors", statistic)
    for calibration, message in (
        (
            {"statistics": str(tmp_path / "gram.safetensors")},
            r"RegMean\+\+ runs text of every expert.*file given for expert0",
        ),
        (None, r"RegMean\+\+ needs calibration data for expert0: give 'data' under 'calibration'"),
    ):
        entries = [e.model_dump() for e in plan.recipe.experts]
        entries[0]["calibration"] = calibration
        with pytest.raises(RecipeError, match=message):
            workspace.plan(parse_recipe(plan.recipe.model_dump() | {"experts": entries}))
    assert "not dataless" in RegMeanPlusPlus.summary()
    assert check_recipe(plan.recipe, settings).seconds > 0


def test_other_text_gives_another_key_and_another_merge(settings, tmp_path: Path):
    directories, data = write_all(tmp_path, [ARCHITECTURES["BERT"](i) for i in range(2)])
    workspace = Workspace(settings)
    plans = [workspace.plan(make_recipe(directories, paths)) for paths in (data, data[::-1])]
    assert plans[0].key != plans[1].key
    a, b = (workspace.merge(plan).tensors["classifier.weight"] for plan in plans)
    assert not torch.allclose(a, b)
    fewer = workspace.plan(make_recipe(directories, data, statistics={"num_examples": 4}))
    assert fewer.key != plans[0].key


def test_heads_with_other_labels_stay_apart(settings, tmp_path: Path):
    models = [tiny_bert(0), tiny_bert(1, labels=("good", "bad", "neither"))]
    directories, data = write_all(tmp_path, models)
    data[1].write_text(data[1].read_text().replace("negative", "bad").replace("positive", "good"))
    own = Workspace(settings)
    merged = own.merge(own.plan(make_recipe(directories, data, heads="own")))
    assert (
        "classifier.weight" not in merged.tensors and merged.treatments["bert.pooler.dense.weight"].path == "cholesky"
    )
    union = own.merge(own.plan(make_recipe(directories, data, heads="union")))
    assert union.tensors["classifier.weight"].shape == (5, 16)
    for name, tensor in merged.tensors.items():
        assert torch.equal(union.tensors[name], tensor)


def test_every_block_runs_twice_for_a_text_however_many_there_are(settings, tmp_path: Path, monkeypatch):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=5, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=40, id2label={0: "negative", 1: "positive"}, label2id={"negative": 0, "positive": 1},
    )  # fmt: skip
    directories, data = write_all(tmp_path, [BertForSequenceClassification(config).eval() for _ in range(2)])
    calls: list[int] = []
    relayed = BlockRelay._relayed

    def counted(self: BlockRelay, k: int, block: int):
        forward = self._forwards[k]
        self._forwards[k] = lambda *args, **options: (calls.append(k), forward(*args, **options))[1]
        try:
            return relayed(self, k, block)
        finally:
            self._forwards[k] = forward

    monkeypatch.setattr(BlockRelay, "_relayed", counted)
    workspace = Workspace(settings)
    plan = workspace.plan(make_recipe(directories, data))
    workspace.merge(plan)
    num_batches = len(calls) / 10  # own weights and merged weights, five blocks
    assert num_batches == int(num_batches) > 1
    assert {k: calls.count(k) for k in range(5)} == dict.fromkeys(range(5), 2 * num_batches)


def test_it_can_be_stopped_between_batches_and_says_where_it_is(settings, tmp_path: Path):
    directories, data = write_all(tmp_path, [ARCHITECTURES["BERT"](i) for i in range(2)])
    workspace, said = Workspace(settings), []
    plan = workspace.plan(make_recipe(directories, data))
    progress = Progress(lambda fraction, message: (said.append(message), "Layer 2" in message and progress.stop()))
    with pytest.raises(StoppedError):
        workspace.merge(plan, progress)
    assert said[-1].startswith("Layer 2 of 3: expert0") and not workspace.is_measured(plan)


def test_no_statistic_is_written_to_the_cache(settings, tmp_path: Path, monkeypatch):
    directories, data = write_all(tmp_path, [tiny_bert(i) for i in range(2)])
    monkeypatch.setattr(measure_module, "write_statistic", lambda *_: pytest.fail("measured beforehand"))
    workspace = Workspace(settings)
    workspace.merge(workspace.plan(make_recipe(directories, data)))
