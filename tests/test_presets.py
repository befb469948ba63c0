"""Presets: every one is opened from a hub on this machine, merged, and found again without it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hub_server import HubServer
from tiny_models import random_texts, tiny_bert, write_model

from fusion_ui.cli import main
from fusion_ui.domains.hub_cache import read_hub_domain
from fusion_ui.errors import RecipeError, SourceUnavailableError
from fusion_ui.merging.preflight import check_recipe, describe_needs
from fusion_ui.merging.recipe import read_recipe
from fusion_ui.progress import Progress
from fusion_ui.projects.labels import explain_labels, label_table
from fusion_ui.projects.presets import Preset, find_preset, open_preset, read_presets
from fusion_ui.projects.project import read_split
from fusion_ui.workspace import Workspace

PRESETS = read_presets()


@pytest.fixture
def hub(monkeypatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        server.redirect(monkeypatch, tmp_path / "hub")
        yield server


def fill(hub: HubServer, preset: Preset, folder: Path) -> None:
    """Put a tiny model and a small data set under every name that the preset asks for."""
    for seed, expert in enumerate(preset.experts):
        model = tiny_bert(seed, labels=tuple(expert.labels) or ("negative", "positive"))
        directory = write_model(folder / expert.name, model)
        hub.add_model(expert.model, {path.name: path.read_bytes() for path in directory.iterdir()})
    for seed, domain in enumerate(preset.domains):
        labels = [[*domain.labels, *(() if domain.labels else ("negative", "positive"))][i % 2] for i in range(60)]
        rows = pd.DataFrame({domain.text_column: random_texts(60, seed), domain.label_column: labels})
        hub.add_dataset(domain.dataset, {f"data/{domain.split}.csv": rows.to_csv(index=False).encode()})


def test_there_are_the_presets_that_the_readme_names():
    assert "bert-sentiment" in PRESETS
    expected = ["imdb", "rotten-tomatoes", "SST-2", "yelp-polarity"]
    assert [e.model for e in PRESETS["bert-sentiment"].experts] == [
        f"textattack/bert-base-uncased-{name}" for name in expected
    ]
    with pytest.raises(RecipeError, match=r"no preset 'nothing'.*bert-sentiment"):
        find_preset("nothing")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_weighed_by_headers_alone(name: str, hub: HubServer, tmp_path: Path, settings):
    preset = find_preset(name)
    fill(hub, preset, tmp_path / "tiny")
    weighed = check_recipe(preset.recipe(), settings)
    assert weighed.problems == () and weighed.download_bytes > 0 and "to download" in describe_needs(weighed)
    assert not list((tmp_path / "hub").rglob("*.safetensors")), "weights were fetched"


def test_a_preset_opens_and_its_models_are_found_again_without_the_hub(hub: HubServer, tmp_path: Path, settings):
    preset = find_preset("distilbert-sentiment")
    fill(hub, preset, tmp_path / "tiny")
    project, _ = open_preset(preset, tmp_path / "domains", settings, Progress())
    assert project.title == preset.title and [e.domain for e in project.experts] == [e.domain for e in preset.experts]
    assert explain_labels(project) == "One head answers with 2 labels, matched by name: negative, positive."
    assert {row[2] for row in label_table(project)} == {"negative", "positive"}
    hub.close()
    assert check_recipe(preset.recipe(), settings).download_bytes == 0
    again, _ = open_preset(preset, tmp_path / "again", settings, Progress())
    assert [read_split(d, "report") for d in again.domains] == [read_split(d, "report") for d in project.domains]


def test_kept_sentences_are_found_again_by_whoever_may_read_them_alone(hub: HubServer, tmp_path: Path):
    rows = "text,label\n" + "".join(f"sentence {i},{i % 2}\n" for i in range(9))
    hub.add_dataset("owner/gated", {"data/train.csv": rows.encode()}, gated_token="hf_visitor")
    first = read_hub_domain(tmp_path / "kept", "owner/gated", "d", num_examples=5, token="hf_visitor")
    hub.close()
    assert read_hub_domain(tmp_path / "kept", "owner/gated", "d", num_examples=5, token="hf_visitor") == first
    others: list[dict[str, Any]] = [{"num_examples": 5}, {"num_examples": 5, "token": "hf_other"}]
    for options in (*others, {"num_examples": 4, "token": "hf_visitor"}):
        with pytest.raises(SourceUnavailableError):
            read_hub_domain(tmp_path / "kept", "owner/gated", "d", **options)
    assert not any(b"hf_visitor" in file.read_bytes() for file in (tmp_path / "kept").iterdir())


def call(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def test_the_command_line_writes_a_recipe_that_merges(hub: HubServer, tmp_path: Path, settings, monkeypatch, capsys):
    monkeypatch.setattr("fusion_ui.cli.arguments.read_settings", lambda: settings)
    fill(hub, PRESETS["distilbert-sentiment"], tmp_path / "tiny")
    out = tmp_path / "preset"
    call("presets", "distilbert-sentiment", "--out", str(out))
    recipe = read_recipe(out / "recipe.json")
    assert all(expert.revision and expert.labels for expert in recipe.experts)
    assert all(not Path(entry["calibration"]["data"]).is_absolute() for entry in json.loads(
        (out / "recipe.json").read_text())["experts"])  # fmt: skip
    merged = Workspace(settings).export(Workspace(settings).plan(recipe), tmp_path / "merged")
    assert merged.treatments
    capsys.readouterr()
    call("presets")
    listed = capsys.readouterr().out
    assert all(name in listed for name in PRESETS)
