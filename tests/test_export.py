"""From a recipe to a directory on disk: what is merged, what is refused, and that it is written whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import VOCABULARY, tiny_bert, tiny_gpt2, write_data, write_experts, write_model
from torch import Tensor

from fusion_ui.errors import FusionError, IncompatibleError, MergeError, StoppedError
from fusion_ui.merging import export
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe, read_recipe
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.workspace import Workspace

QUERY = "bert.encoder.layer.0.attention.self.query.weight"


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_experts(tmp_path_factory.mktemp("experts"), 3)


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace(settings)


def make_recipe(models: list[Path], folder: Path, method: str = "regmean", **change: object) -> MergeRecipe:
    entries = [
        {"name": model.name, "model": str(model), "calibration": {"data": str(write_data(folder / f"{i}.csv", seed=i))}}
        for i, model in enumerate(models)
    ]
    return parse_recipe({"method": method, "experts": entries, "statistics": {"num_examples": 6}} | change)


def tensors_of(model: Path) -> dict[str, Tensor]:
    return load_file(model / "model.safetensors")


@pytest.mark.parametrize("method", ["regmean", "simple_mean", "fisher"])
def test_an_exported_merge_loads_as_any_model_and_has_the_merged_weights(experts, workspace, tmp_path, method):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    out = tmp_path / "new" / "merged"
    plan = workspace.plan(make_recipe(experts, tmp_path, method))
    exported, merged = workspace.export(plan, out), workspace.merge(plan)
    model, info = AutoModelForSequenceClassification.from_pretrained(out, output_loading_info=True)
    assert not any(info.values()), "keys are missing, unexpected or mismatched"
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, merged.tensors[name]), name
        assert torch.equal(parameter, exported.tensors[name]), name
    assert exported.treatments == merged.treatments
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert AutoTokenizer.from_pretrained(out)("w1 w2")["input_ids"] == [2, 5, 6, 3]
    first = tensors_of(experts[0])
    assert any(not torch.equal(first[name], tensor) for name, tensor in tensors_of(out).items())


def test_biases_norms_and_embeddings_get_the_mean_weighted_by_the_coefficients(experts, workspace, tmp_path):
    recipe = make_recipe(experts[:2], tmp_path)
    entries = (recipe.experts[0].model_copy(update={"weight": 3.0}), recipe.experts[1])
    merged = workspace.merge(workspace.plan(recipe.model_copy(update={"experts": entries})))
    first, second = map(tensors_of, experts[:2])
    for name, treatment in merged.treatments.items():
        mean = 0.75 * first[name] + 0.25 * second[name]
        is_linear = name.endswith("weight") and "embeddings" not in name and "LayerNorm" not in name
        assert treatment.path == ("cholesky" if is_linear else "mean")
        assert torch.allclose(merged.tensors[name], mean, atol=1e-6) is not is_linear, name


def test_the_directory_says_how_it_was_made_and_the_recipe_makes_it_again(experts, workspace, settings, tmp_path):
    out, again = tmp_path / "merged", tmp_path / "again"
    workspace.export(workspace.plan(make_recipe(experts, tmp_path, parameters={"alpha": 0.7})), out)
    report = json.loads((out / "merge_report.json").read_text())
    assert set(report["parameters"]) == set(tensors_of(out))
    assert report["parameters"]["classifier.bias"]["reason"] == "not the weight of a linear layer"
    card = (out / "README.md").read_text()
    assert "RegMean of expert0, expert1, expert2" in card and "alpha = 0.7" in card
    # Measured anew, in a cache of its own: the same bits.
    fresh = Workspace(Settings(cache_dir=tmp_path / "other cache"))
    fresh.export(fresh.plan(read_recipe(out / "recipe.json")), again)
    assert (out / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()


def test_a_model_in_several_files_is_merged_like_one_in_a_single_file(experts, workspace, tmp_path):
    from transformers import AutoModelForSequenceClassification

    sharded = Path(shutil.copytree(experts[1], tmp_path / experts[1].name))
    (sharded / "model.safetensors").unlink()
    AutoModelForSequenceClassification.from_pretrained(experts[1]).save_pretrained(sharded, max_shard_size="8KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    merged = [
        workspace.merge(workspace.plan(make_recipe([experts[0], other], tmp_path))).tensors
        for other in (experts[1], sharded)
    ]
    assert merged[0].keys() == merged[1].keys()
    assert all(torch.equal(merged[1][name], tensor) for name, tensor in merged[0].items())


@pytest.mark.parametrize(("method", "num_experts"), [("simple_mean", 9), ("regmean", 2)])
def test_weights_keep_the_type_and_the_integers_of_the_experts(workspace, tmp_path, method, num_experts):
    # Older checkpoints store position ids; the mean of nine equal integers is that integer, not one below it.
    positions = {"bert.embeddings.position_ids": torch.arange(32).reshape(1, 32)}
    models = [write_model(tmp_path / f"e{i}", tiny_bert(i).half(), extra=positions) for i in range(num_experts)]
    workspace.export(workspace.plan(make_recipe(models, tmp_path, method)), tmp_path / "out")
    merged = tensors_of(tmp_path / "out")
    assert merged[QUERY].dtype == torch.float16
    assert torch.equal(merged["bert.embeddings.position_ids"], positions["bert.embeddings.position_ids"])


@pytest.mark.parametrize(
    "name", [QUERY, "classifier.weight", "classifier.bias", "bert.embeddings.word_embeddings.weight"]
)
@pytest.mark.parametrize("method", ["regmean", "simple_mean", "fisher"])
def test_an_expert_with_a_number_that_is_none_is_refused_with_its_name_and_tensor(
    experts, workspace, tmp_path, method, name
):
    tensor = tensors_of(experts[1])[name]
    tensor[..., -1] = float("nan")  # also in the rows of the words that the text has, so that it spreads
    broken = write_model(tmp_path / "broken", tiny_bert(1), extra={name: tensor})
    plan = workspace.plan(make_recipe([experts[0], broken], tmp_path, method))
    with pytest.raises(FusionError, match=f"broken.*{name} has entries that are not finite"):
        workspace.export(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_experts_of_other_shapes_are_refused_naming_both_and_the_tensor(experts, workspace, tmp_path):
    wide = write_model(tmp_path / "wide", tiny_bert(hidden_size=32))
    with pytest.raises(IncompatibleError, match=r"expert0 and wide cannot .* in width 16 against 32"):
        workspace.plan(make_recipe([experts[0], wide], tmp_path))
    more = write_model(tmp_path / "more", tiny_bert(), extra={"bert.extra": torch.ones(2)})
    with pytest.raises(IncompatibleError, match=r"more has the tensor bert\.extra and expert0 does not"):
        workspace.plan(make_recipe([experts[0], more], tmp_path))


def test_an_expert_called_base_is_checked_like_any_other(experts, workspace, tmp_path):
    # Its name is also what the base model is called in messages.
    wide = write_model(tmp_path / "base", tiny_bert(hidden_size=32))
    with pytest.raises(IncompatibleError, match="expert0 and base cannot be merged"):
        workspace.plan(make_recipe([experts[0], wide], tmp_path, "simple_mean", base=str(experts[1])))


def test_a_directory_that_holds_something_is_not_touched(experts, workspace, tmp_path):
    plan = workspace.plan(make_recipe(experts, tmp_path, "simple_mean"))
    full, file, empty = tmp_path / "full", tmp_path / "file", tmp_path / "empty"
    full.mkdir()
    empty.mkdir()
    (full / "thesis.txt").write_text("years of work")
    file.write_text("years of work")
    for out in (full, file):
        with pytest.raises(MergeError, match=f"{out} exists already and is not an empty directory"):
            workspace.export(plan, out)
    assert file.read_text() == (full / "thesis.txt").read_text() == "years of work"
    assert [path.name for path in full.iterdir()] == ["thesis.txt"]
    workspace.export(plan, empty)
    assert (empty / "model.safetensors").is_file()


@pytest.mark.parametrize("step", ["write_tensors", "write_json", "_write_around"])
def test_an_export_that_fails_leaves_nothing(experts, workspace, tmp_path, monkeypatch, step):
    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    folder = tmp_path / "out"
    monkeypatch.setattr(export, step, fail)
    plan = workspace.plan(make_recipe(experts, tmp_path, "simple_mean"))
    before = set(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space left"):
        workspace.export(plan, folder)
    assert set(tmp_path.iterdir()) == before


def test_a_stopped_merge_is_not_remembered_as_done(experts, workspace, tmp_path):
    plan, seen = workspace.plan(make_recipe(experts, tmp_path)), []

    def note(fraction: float, message: str) -> None:
        seen.append(message)
        if "Merging" in message:
            progress.stop()

    progress = Progress(note)
    with pytest.raises(StoppedError):
        workspace.merge(plan, progress)
    assert len(workspace.merge(plan).tensors) == len(tensors_of(experts[0]))


def test_a_gpt2_merge_stores_conv1d_weights_as_gpt2_does(workspace, tmp_path):
    models = [write_model(tmp_path / f"e{i}", tiny_gpt2(i)) for i in range(2)]
    merged = workspace.merge(workspace.plan(make_recipe(models, tmp_path, parameters={"alpha": 0})))
    shapes = {name: tensor.shape for name, tensor in tensors_of(models[0]).items()}
    assert {name: tensor.shape for name, tensor in merged.tensors.items()} == shapes


def test_one_factorisation_gives_what_merging_once_gives(experts, workspace, tmp_path, settings):
    plan = workspace.plan(make_recipe(experts, tmp_path, parameters={"alpha": 0.8}))
    once = workspace.merge(plan)
    other = Workspace(settings)
    other.prepare(plan)
    many = other.merge(plan)
    assert (once.treatments[QUERY].path, many.treatments[QUERY].path) == ("cholesky", "eigen")
    assert once.tensors.keys() == many.tensors.keys()
    for name, tensor in once.tensors.items():
        torch.testing.assert_close(many.tensors[name], tensor, rtol=1e-4, atol=1e-4)


def test_the_fisher_merge_is_the_brute_force_one(experts, workspace, tmp_path):
    plan = workspace.plan(make_recipe(experts[:2], tmp_path, "fisher", statistics={"num_examples": 100}))
    merged = workspace.merge(plan).tensors["classifier.weight"]
    models, fishers = [tiny_bert(i) for i in range(2)], []
    for model, domain in zip(models, plan.calibration, strict=True):
        tokens = [(2, *(VOCABULARY.index(word) for word in text.split()), 3) for text in domain.texts]
        fishers.append(oracles.fisher_by_example(model, tokens)["classifier.weight"])
    stored = [model.classifier.weight.double().numpy() for model in models]
    np.testing.assert_allclose(merged.numpy(), oracles.fisher_mean(stored, fishers, [0.5, 0.5]), rtol=1e-3, atol=1e-4)
