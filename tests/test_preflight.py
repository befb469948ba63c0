"""The answer before anything large is read: what does not fit, what it costs, and what looks strange."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hub_server import HubServer
from tiny_models import tiny_bert, tiny_gpt2, write_data, write_model

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.similarity import find_strangers, weight_cosine
from fusion_ui.merging import preflight
from fusion_ui.merging.preflight import check_recipe, format_bytes
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe


def recipe_of(models: list[str], folder: Path, **change: object) -> MergeRecipe:
    data = write_data(folder / "data.csv")
    experts = [{"name": f"e{i}", "model": m, "calibration": {"data": str(data)}} for i, m in enumerate(models)]
    return parse_recipe({"method": "regmean", "experts": experts} | change)


def test_models_that_fit_are_said_to_fit_with_what_they_cost(settings, tmp_path: Path):
    models = [str(write_model(tmp_path / f"m{i}", tiny_bert(i))) for i in range(2)]
    found = check_recipe(recipe_of(models, tmp_path), settings)
    assert found.problems == () and found.download_bytes == 0
    assert found.machine.memory_bytes > 1e8 and found.machine.disk_bytes > 1e6 and found.machine.flops > 1e8
    assert found.memory_bytes > preflight.PROCESS_BYTES and found.seconds > 0
    described = json.loads(json.dumps(found.describe()))
    assert described["is_mergeable"] and [m["name"] for m in described["models"]] == ["e0", "e1"]


def test_what_does_not_fit_names_both_models_and_the_difference(settings, tmp_path: Path):
    models = [tiny_bert(0), tiny_bert(1, hidden_size=32), tiny_gpt2(2)]
    paths = [str(write_model(tmp_path / f"m{i}", model)) for i, model in enumerate(models)]
    found = check_recipe(recipe_of([*paths, str(tmp_path / "nowhere")], tmp_path), settings)
    assert not found.describe()["is_mergeable"]
    first, second, third = sorted(found.problems)
    assert first.startswith("The model e3")
    assert second.startswith("e0 and e1 cannot be merged: they differ in width 16 against 32")
    assert third.startswith("e0 and e2 cannot be merged: their architectures differ")


def test_what_this_machine_does_not_have_is_said(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    models = [str(write_model(tmp_path / f"m{i}", tiny_bert(i))) for i in range(2)]
    monkeypatch.setattr(preflight, "measure_machine", lambda _: preflight.Machine(100_000_000, 10, 1e9))
    disk, memory = sorted(check_recipe(recipe_of(models, tmp_path), settings).problems)
    assert "of disk and 0.01 KB are free" in disk and "of memory and 100 MB are free" in memory


def test_other_pretraining_is_noticed_by_the_weights(settings, tmp_path: Path):
    # tiny_bert's seeds are unrelated; a slightly changed copy stands for a fine-tuned model.
    base, tuned = tiny_bert(0), tiny_bert(0)
    for parameter in tuned.parameters():
        parameter.data.mul_(1.01)
    paths = [write_model(tmp_path / name, m) for name, m in (("base", base), ("tuned", tuned), ("other", tiny_bert(9)))]
    a, b, c = (Checkpoint(path.name, path, str(path)) for path in paths)
    assert weight_cosine(a, b) == pytest.approx(1.0, abs=1e-4)
    assert abs(weight_cosine(a, c) or 0) < 0.3
    (warning,) = find_strangers([a, b, c])
    assert warning.startswith("base and other seem to come from different pre-trained models")
    found = check_recipe(recipe_of([str(paths[0]), str(paths[2])], tmp_path), settings)
    assert found.problems == () and len(found.warnings) == 1


def test_hub_models_are_described_without_their_weights(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    local = write_model(tmp_path / "local", tiny_bert(0))
    wide = write_model(tmp_path / "wide", tiny_bert(1, hidden_size=64))
    with HubServer() as server:
        server.redirect(monkeypatch, tmp_path / "hub")
        server.add_model("owner/wide", {path.name: path.read_bytes() for path in wide.iterdir()})
        found = check_recipe(recipe_of([str(local), "owner/wide"], tmp_path), settings)
    assert found.download_bytes == (wide / "model.safetensors").stat().st_size
    assert "e0 and e1 cannot be merged: they differ in width 16 against 64" in found.problems[0]


@pytest.mark.parametrize(("count", "text"), [(999, "0.999 KB"), (90_900_000, "90.9 MB"), (1_340_000_000, "1.34 GB")])
def test_sizes_are_for_people(count: int, text: str):
    assert format_bytes(count) == text
