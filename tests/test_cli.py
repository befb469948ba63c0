"""The console script as another program sees it: real processes, their output and their exit code."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from small_demo import SIZES, shrink
from tiny_models import write_experts
from transformers import AutoModelForSequenceClassification, AutoTokenizer

ROOT = Path(__file__).parent.parent


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fusion_ui", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=300)


def succeed(*arguments: str) -> str:
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refuse(*arguments: str, **environment: str) -> str:
    """Run something impossible; it must say so in one sentence and end with code 2."""
    result = run(*arguments, **environment)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def small(demo, tmp_path_factory):
    return shrink(demo, tmp_path_factory.mktemp("small"))


@pytest.fixture
def recipe(small, tmp_path):
    """A function that writes a recipe of two experts with some changes."""

    def write(**changes) -> Path:
        experts = [
            {"name": e.name, "model": str(e.model), "calibration": {"data": str(d.calibrate)}}
            for e, d in zip(small.experts[:2], small.domains[:2], strict=True)
        ]
        value = {"method": "regmean", "experts": experts, "statistics": {"num_examples": 32}} | changes
        (tmp_path / "recipe.json").write_text(json.dumps(value))
        return tmp_path / "recipe.json"

    return write


def test_methods_are_listed_with_their_declarations():
    described = {about["name"]: about for about in json.loads(succeed("methods", "--json"))}
    assert {"regmean", "simple_mean", "fisher"} <= set(described)
    alpha, *options = described["regmean"]["parameters"]
    assert (alpha["name"], alpha["default"], alpha["minimum"], alpha["maximum"]) == ("alpha", 0.9, 0, 1)
    assert all(option["kind"] == "toggle" and option["default"] is False for option in options)
    assert described["regmean_plusplus"]["needs_text"] and described["regmean_plusplus"]["requires"] == []


def test_demo_directories_load_with_from_pretrained(demo):
    paths = json.loads(succeed("demo", "--json"))
    assert paths == demo.describe()
    for directory in [paths["base"], paths["multitask"], *(expert["model"] for expert in paths["experts"])]:
        model = AutoModelForSequenceClassification.from_pretrained(directory)
        assert model.config.id2label == {0: "negative", 1: "positive"}
        assert len(AutoTokenizer.from_pretrained(directory)("It works.")["input_ids"]) == 5
    assert list(pd.read_csv(paths["domains"][0]["report"]).columns) == ["text", "label"]


def test_merge_writes_a_model_that_evaluates_as_its_recipe_does(recipe, small, tmp_path):
    path, out = recipe(), tmp_path / "merged"
    succeed("merge", path, "--out", out)
    names = {file.name for file in out.iterdir()}
    assert {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "recipe.json",
        "merge_report.json",
        "README.md",
    } <= names
    model = AutoModelForSequenceClassification.from_pretrained(out)
    assert torch.equal(model.classifier.weight, load_file(out / "model.safetensors")["classifier.weight"])
    report = json.loads((out / "merge_report.json").read_text())
    assert report["parameters"]["bert.encoder.layer.0.output.dense.weight"]["path"] == "cholesky"
    assert report["parameters"]["bert.embeddings.LayerNorm.weight"]["reason"] == "not the weight of a linear layer"
    data = [f"--data={d.name}={d.report}" for d in small.domains]
    of_recipe = json.loads(succeed("evaluate", path, *data, "--json"))
    of_model = json.loads(succeed("evaluate", out, *data, "--json"))
    for a, b in zip(of_recipe["scores"], of_model["scores"], strict=True):
        assert (a["domain"], a["value"], a["num_examples"]) == (b["domain"], b["value"], SIZES["report"])
        assert a["low"] < a["value"] < a["high"]
    assert [score["role"] for score in of_recipe["scores"]] == ["in-domain"] * 2 + ["out-of-domain"] * 2
    again = tmp_path / "again"
    succeed("merge", out / "recipe.json", "--out", again)
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()


def test_statistics_stand_in_for_the_data(recipe, small, tmp_path):
    experts = []
    for expert, domain in zip(small.experts[:2], small.domains[:2], strict=True):
        file = tmp_path / f"{expert.name}.safetensors"
        options = ["--text-column", "text", "--label-column", "label", "--num-examples", "32", "--seed", "0"]
        succeed("stats", "--model", expert.model, "--data", domain.calibrate, *options, "--out", file)
        experts.append({"name": expert.name, "model": str(expert.model), "calibration": {"statistics": file.name}})
    succeed("merge", recipe(), "--out", tmp_path / "with_data")
    succeed("merge", recipe(experts=experts), "--out", tmp_path / "with_statistics")
    a, b = (load_file(tmp_path / f"with_{kind}" / "model.safetensors") for kind in ("data", "statistics"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    swapped = [experts[0] | {"calibration": experts[1]["calibration"]}, experts[1]]
    message = refuse("merge", recipe(experts=swapped), "--out", tmp_path / "swapped")
    assert "were measured on another model" in message and not (tmp_path / "swapped").exists()


def test_task_vectors_are_merged_over_their_base_and_scaled_by_depth(tmp_path):
    *experts, base = write_experts(tmp_path, 3)
    entries = [{"name": expert.name, "model": expert.name} for expert in experts]
    value = {"method": "tsv_merge", "base": base.name, "experts": entries}
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(value))
    whole, half = tmp_path / "whole", tmp_path / "half"
    succeed("merge", recipe, "--out", whole)
    succeed("merge", recipe, "--out", half, "--set", "scaling_coefficient=0.5", "--set", "layer_scaling.shallow=0")
    stored = [load_file(folder / "model.safetensors") for folder in (base, whole, half)]
    for name, factor in (("bert.pooler.dense.weight", 0.5), ("bert.embeddings.word_embeddings.weight", 0.0)):
        update, scaled = (tensors[name] - stored[0][name] for tensors in stored[1:])
        assert update.any()
        torch.testing.assert_close(scaled, factor * update, rtol=1e-4, atol=1e-6)
    report = json.loads((half / "merge_report.json").read_text())
    assert (
        report["parameters"]["bert.pooler.dense.weight"] | {"path": "tsv", "layer_factor": 1.0}
        == (report["parameters"]["bert.pooler.dense.weight"])
    )
    assert report["paths"]["mean task vector"] > 5
    assert json.loads((half / "recipe.json").read_text())["layer_scaling"] == {"shallow": 0.0}
    message = refuse("merge", recipe, "--out", tmp_path / "no", "--set", "layer_scaling.slope=1")
    assert "Layer scaling has no parameter 'slope'" in message
    assert "TSV-Merge has no parameter 'shallow.x'" in refuse("merge", recipe, "--out", "no", "--set", "shallow.x=1")
    recipe.write_text(json.dumps(value | {"base": None}))
    assert "TSV-Merge needs the base model" in refuse("merge", recipe, "--out", tmp_path / "no")
    recipe.write_text(json.dumps(value | {"base": None, "method": "simple_mean"}))
    message = refuse("merge", recipe, "--out", tmp_path / "no", "--set", "layer_scaling.deep=0.5")
    assert "Layer scaling needs the base model" in message and not (tmp_path / "no").exists()


def test_sweep_reports_every_alpha_and_the_best(recipe, small):
    data = [f"--data={d.name}={d.select}" for d in small.domains[:2]]
    result = json.loads(succeed("sweep", recipe(), "--alpha", "0,0.5,1", *data, "--json"))
    assert [point["alpha"] for point in result["points"]] == [0, 0.5, 1]
    assert result["best"]["mean"] == max(point["mean"] for point in result["points"])
    relative = json.loads(succeed("sweep", recipe(), "--alpha", "0.5", "--relative", *data, "--json"))["points"][0]
    experts = {d.name: e.model for d, e in zip(small.domains[:2], small.experts[:2], strict=True)}
    for plain, shown, one in zip(result["points"][1]["scores"], relative["scores"], data, strict=True):
        own = json.loads(succeed("evaluate", experts[plain["domain"]], one, "--json"))["scores"][0]["value"]
        assert shown["value"] == pytest.approx(plain["value"] / own)
    assert "names of their experts" in refuse(
        "sweep", recipe(), "--alpha", "0.5", "--relative", f"--data=other={small.domains[0].select}"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters": {"alpha": 2}}, "The 'alpha' parameter of RegMean must be a number in [0, 1]. Got 2 instead."),
        ({"parameters": {"alpha": "abc"}}, "must be a number in [0, 1]. Got 'abc' instead."),
        ({"method": "magic"}, "There is no merge method 'magic'. Choose one of: regmean, "),
        ({"experts": []}, "a merge needs at least one expert"),
        ({"experts": [{"name": "a", "model": "/nowhere/at/all"}]}, "is neither a directory nor the owner/name"),
        ({"experts": [{"name": "a", "model": "no-such-owner/no-such-model"}]}, "could not be had"),
    ],
)
def test_an_impossible_recipe_is_refused_and_writes_nothing(recipe, tmp_path, changes, words):
    path = recipe(**changes)
    before = sorted(tmp_path.iterdir())
    assert words in refuse("merge", path, "--out", tmp_path / "out", HF_HUB_OFFLINE="1")
    assert sorted(tmp_path.iterdir()) == before


def test_missing_files_are_named(recipe, small, tmp_path):
    assert "nowhere.json cannot be read" in refuse("merge", tmp_path / "nowhere.json", "--out", tmp_path / "out")
    experts = [{"name": "a", "model": str(small.experts[0].model), "calibration": {"data": "gone.csv"}}]
    assert "gone.csv does not exist" in refuse("merge", recipe(experts=experts), "--out", tmp_path / "out")
    data = f"--data=tweets={small.domains[0].report}"
    assert "has no column 'sentence'" in refuse("evaluate", recipe(), data, "--text-column", "sentence")
    assert "Write --data NAME=FILE" in refuse("evaluate", recipe(), "--data=nonsense")
    assert "has no parameter 'alpha'" in refuse("sweep", recipe(method="simple_mean"), data)
    assert "exists already" in refuse("merge", recipe(), "--out", ROOT / "tests")


def test_a_port_in_use_is_said_before_anything_is_prepared(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        message = refuse("serve", "--port", port, FUSION_UI_CACHE_DIR=str(tmp_path / "cache"))
    assert f"127.0.0.1:{port}" in message and "FUSION_UI_PORT" in message
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_this_machine_is_refused(tmp_path, host):
    message = refuse("serve", "--host", host, FUSION_UI_CACHE_DIR=str(tmp_path / "cache"))
    assert f"cannot be served on {host}" in message and "FUSION_UI_HOST" in message


def test_a_wrong_setting_is_named():
    assert "FUSION_UI_PORT" in refuse("demo", FUSION_UI_PORT="many")
