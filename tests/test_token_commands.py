"""Models that tag words, through every command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from seqeval.metrics import f1_score
from tiny_taggers import make_sentences, tags_of, write_sentences, write_tagger
from typer.testing import CliRunner

from fusion_ui.cli.application import app
from fusion_ui.errors import DomainError
from fusion_ui.settings import Settings

KINDS = {"places": ("per", "loc"), "firms": ("org", "per")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two experts, their text as CoNLL and CSV, and a recipe."""
    folder = tmp_path_factory.mktemp("taggers")
    base = write_tagger(folder / "base", tags_of("per", "loc"), seed=5)
    experts = []
    for seed, (name, kinds) in enumerate(KINDS.items()):
        write_tagger(folder / name, tags_of(*kinds), make_sentences(320, kinds, seed), start=base)
        write_sentences(folder / f"{name}.conll", make_sentences(40, kinds, 10 + seed))
        data = write_sentences(folder / f"{name}.csv", make_sentences(40, kinds, 20 + seed))
        experts.append({"name": name, "model": str(folder / name), "calibration": {"data": str(data)}})
    (folder / "recipe.json").write_text(json.dumps({"method": "regmean", "experts": experts, "heads": "union"}))
    return folder


@pytest.fixture(autouse=True)
def settings_of_commands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusion_ui.cli.arguments.read_settings", lambda: Settings(cache_dir=folder / "cache"))


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_command_takes_taggers(folder: Path, tmp_path: Path):
    recipe = folder / "recipe.json"
    data = [f"--data={name}={folder / name}.conll" for name in KINDS]
    run("merge", recipe, "--out", tmp_path / "out")
    scores = json.loads(run("evaluate", recipe, *data, "--json"))["scores"]
    assert [score["metric"] for score in scores] == ["entity_f1"] * 2
    alone = json.loads(run("evaluate", tmp_path / "out", *data, "--json"))["scores"]
    assert [s["value"] for s in alone] == pytest.approx([s["value"] for s in scores], abs=1e-9)

    from transformers import pipeline

    tag = pipeline("token-classification", model=str(tmp_path / "out"), device="cpu")
    assert {found["entity"] for found in tag("pa lo ti ga")} <= {*tags_of("per", "loc", "org")}
    said = json.loads(run("try", recipe, "pa ti lo", "--json"))["examples"][0]["models"]
    by_pipeline = " ".join(f"{found['word']} {found['entity']}" for found in tag("pa ti lo"))
    assert said[0]["answer"].replace(" · ", " ") == by_pipeline or not by_pipeline
    assert "places" in run("try", recipe, "pa ti lo")

    flips = json.loads(run("flips", recipe, *data, "--json"))
    assert flips["confusion"] == [] and all("\x1f" not in json.dumps(flip) for flip in flips["flips"])
    assert "flips shown" in run("flips", recipe, *data, "--against", "ensemble")
    sweep = json.loads(run("sweep", recipe, "--alpha", "0.5,0.9", *data, "--json"))
    assert len(json.dumps(sweep)) > 50
    run("sweep", recipe, "--best", *data)
    run("pairs", recipe, *data)
    run("growth", recipe, *data)
    run("doctor", recipe)
    run("stats", "--model", folder / "places", "--data", folder / "places.csv", "--out", tmp_path / "a.safetensors")
    run("report", recipe, *data, "--out", tmp_path / "report.html")
    assert "\x1f" not in (tmp_path / "report.html").read_text("utf-8")
    checked = json.loads(run("check", recipe, "--json"))
    assert checked["problems"] == []


def test_inspect_counts_words(folder: Path):
    text = run("inspect", folder / "places.conll", "--model", folder / "places")
    assert "holds words" in text and "O (" in text and "x1f" not in text
    found = json.loads(run("inspect", folder / "places.csv", "--model", folder / "places", "--json"))
    assert found["num_words"] == sum(found["num_by_label"].values()) and found["label_column"] == "label"
    sentences = make_sentences(40, KINDS["places"], 20)
    assert found["num_words"] == sum(len(words) for words, _ in sentences)
    assert f1_score([tags for _, tags in sentences], [tags for _, tags in sentences]) == 1


def test_what_does_not_align_ends_in_a_sentence(folder: Path, tmp_path: Path):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps({"text": ["pa", "ti"], "label": ["O"]}) + "\n", "utf-8")
    with pytest.raises(DomainError, match="has 2 words and 1 labels"):
        run("evaluate", folder / "recipe.json", "--data", f"places={path}")
