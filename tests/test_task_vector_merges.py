"""Methods on task vectors over whole models: by the command line, from a recipe that names a base, to the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import task_vector_oracles as oracles
import torch
from safetensors.torch import load_file
from task_vector_slots import IDENTITY
from test_cli import refuse, succeed
from tiny_models import tiny_bert, write_model

from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.settings import Settings
from fusion_ui.workspace import Workspace

FROZEN = "bert.embeddings.word_embeddings.weight"
TRAINED = "bert.encoder.layer.0.output.dense.weight"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and three experts that left its word embeddings as they were."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "base", tiny_bert(9))
    embeddings = load_file(folder / "base" / "model.safetensors")[FROZEN]
    for i in range(3):
        write_model(folder / f"expert{i}", tiny_bert(i), {FROZEN: embeddings})
    return folder


def recipe(models: Path, method: str, num_experts: int = 3, **changes: object) -> dict:
    experts = [{"name": f"expert{i}", "model": str(models / f"expert{i}")} for i in range(num_experts)]
    return {"method": method, "base": str(models / "base"), "experts": experts} | changes


def read(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def write_recipe(folder: Path, value: dict) -> Path:
    (folder / "recipe.json").write_text(json.dumps(value))
    return folder / "recipe.json"


def test_the_command_line_merges_and_reports(models: Path, tmp_path: Path):
    path, out = write_recipe(tmp_path, recipe(models, "ties", parameters={"density": 0.5})), tmp_path / "merged"
    assert "by task vectors" in succeed("merge", path, "--out", out, "--set", "scaling_coefficient=0.5")
    merged, base = read(out), read(models / "base")
    vectors = [(read(models / f"expert{i}")[TRAINED] - base[TRAINED]).double().numpy() for i in range(3)]
    trimmed = [oracles.keep_top(vector, 0.5) for vector in vectors]
    expected = base[TRAINED].double().numpy() + 0.5 * oracles.elect_and_merge(trimmed, [1, 1, 1])
    np.testing.assert_allclose(merged[TRAINED], expected, atol=1e-6)
    assert torch.equal(merged[FROZEN], base[FROZEN])
    report = json.loads((out / "merge_report.json").read_text())
    done = report["parameters"]
    assert (done[FROZEN]["share_kept"], done[FROZEN]["share_conflicting"]) == (1, 0)
    assert done[TRAINED]["path"] == "task vectors" and done[TRAINED]["share_kept"] == 0.5
    assert done[TRAINED]["share_conflicting"] == np.mean(
        [min(values) < 0 < max(values) for values in zip(*(vector.flat for vector in trimmed), strict=True)]
    )
    assert report["paths"]["task vectors"] == len([d for d in done.values() if d["path"] == "task vectors"])
    again = tmp_path / "again"
    succeed("merge", out / "recipe.json", "--out", again)
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()


def test_what_cannot_be_merged_is_refused_in_a_sentence(models: Path, tmp_path: Path):
    without = {key: value for key, value in recipe(models, "ties").items() if key != "base"}
    message = refuse("merge", write_recipe(tmp_path, without), "--out", tmp_path / "out")
    assert "TIES needs the base model that the experts were fine-tuned from. Name it as the base." in message
    alone = recipe(models, "consensus", num_experts=1)
    message = refuse("merge", write_recipe(tmp_path, alone), "--out", tmp_path / "out")
    assert "Consensus merges at least 2 experts, and 1 take part. Change which do." in message
    assert not (tmp_path / "out").exists()


def test_the_command_line_lists_them():
    described = {about["name"]: about for about in json.loads(succeed("methods", "--json"))}
    assert all(described[name]["needs_base"] and not described[name]["requires"] for name in IDENTITY)


@pytest.mark.parametrize("name", IDENTITY)
def test_every_method_merges_whole_models_from_the_base_on(models: Path, settings: Settings, name: str):
    workspace, base = Workspace(settings), read(models / "base")
    plan = workspace.plan(parse_recipe(recipe(models, name)))
    merged = workspace.merge(plan).tensors
    assert merged.keys() == base.keys()
    assert all(tensor.isfinite().all() and tensor.shape == base[key].shape for key, tensor in merged.items())
    assert torch.equal(merged[FROZEN], base[FROZEN]) and not torch.equal(merged[TRAINED], base[TRAINED])
    still = workspace.merge(plan.with_parameters(scaling_coefficient=0)).tensors
    assert all(torch.equal(still[key], base[key]) for key in base)
