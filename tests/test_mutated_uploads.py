"""Damaged uploads of every kind: each is taken or refused with a sentence, soon, and a refused one leaves nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hostile_files as hostile
import pandas as pd
import pytest
from mutations import mutate
from served import Server, Visitor, serve
from tiny_models import tiny_bert, write_data, write_model

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.columns import preview
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.summary import summarise
from fusion_ui.errors import FusionError
from fusion_ui.progress import Progress
from fusion_ui.projects.building import use_statistics
from fusion_ui.projects.data import DataPlace, read_data
from fusion_ui.projects.fetching import receive_model
from fusion_ui.projects.project import Project, ProjectExpert
from fusion_ui.settings import Settings
from fusion_ui.statistics.bundle import write_statistic
from fusion_ui.statistics.measure import measure
from fusion_ui.statistics.statistic import StatisticKind, StatisticSettings

SECONDS = 5.0
"""Of the processor, for one upload."""
NUM_SENT, NUM_CHILDREN = 40, 2
"""Of each kind over HTTP: those that are made, and of these the ones that a child process is started for."""
COLUMNS = ("text", None, "label")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One whole file of each kind, by its name, and the model's directory."""
    folder = tmp_path_factory.mktemp("good")
    model = write_model(folder / "model", tiny_bert())
    texts = write_data(folder / "a.csv", 40)
    frame = pd.read_csv(texts)
    frame.to_parquet(folder / "a.parquet")
    frame.to_json(folder / "a.jsonl", orient="records", lines=True)
    hostile.write_zip(folder / "model.zip", {file.name: file.read_bytes() for file in model.iterdir()})
    checkpoint = Checkpoint("m", model, "m")
    domain = Domain("d", "D", "calibrate", tuple(frame["text"]), ())
    settings = Settings(cache_dir=folder / "cache")
    gram = measure(checkpoint, domain, StatisticKind.GRAM, StatisticSettings(num_examples=8), settings, Progress())
    write_statistic(folder / "gram.safetensors", gram)
    return {file.name: file for file in [*folder.iterdir(), *model.iterdir()]}


def add_model(good: dict[str, Path], damaged: Path, folder: Path, settings: Settings) -> None:
    """The page's way, with `damaged` in the place of the file of its name."""
    files = [damaged]
    if damaged.suffix != ".zip":
        files += [file for file in good["model"].iterdir() if file.name != damaged.name]
    receive_model([str(file) for file in files], "", folder / "models", settings, Progress())


def add_data(good: dict[str, Path], damaged: Path, folder: Path, settings: Settings) -> None:
    preview(damaged)
    summarise(read_data(DataPlace(damaged), COLUMNS, settings.datasets_dir), None)


def add_statistics(good: dict[str, Path], damaged: Path, folder: Path, settings: Settings) -> None:
    expert = ProjectExpert("m", "M", good["model"], "d")
    use_statistics(Project("p", "P", None, None, (expert,), ()), "m", damaged, folder / "statistics")


UPLOADS: dict[str, tuple[Callable[..., None], int]] = {
    "model.safetensors": (add_model, 250),
    "config.json": (add_model, 150),
    "tokenizer.json": (add_model, 60),
    "tokenizer_config.json": (add_model, 60),
    "model.zip": (add_model, 200),
    "a.csv": (add_data, 80),
    "a.jsonl": (add_data, 60),
    "a.parquet": (add_data, 80),
    "gram.safetensors": (add_statistics, 100),
}


@pytest.mark.parametrize("name", UPLOADS)
def test_damaged_uploads_are_taken_or_refused_with_a_sentence(
    name: str, good: dict[str, Path], tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    # What passes the checks would be tried in a child process, which takes seconds: `test_attacks` tries that.
    monkeypatch.setattr("fusion_ui.projects.fetching.try_in_child", lambda *_, **__: None)
    add, count = UPLOADS[name]
    content, num_refused = good[name].read_bytes(), 0
    add(good, good[name], tmp_path / "whole", settings)
    (tmp_path / "sent").mkdir()
    for seed in range(count):
        damaged = tmp_path / "sent" / name
        damaged.write_bytes(mutate(content, random.Random(seed)))
        folder, began = tmp_path / "taken", time.process_time()
        before = sorted(folder.rglob("*"))
        try:
            add(good, damaged, folder, settings)
        except FusionError as error:
            num_refused += 1
            text = str(error)
            assert text.endswith(".") and text.isprintable() and 20 < len(text) < 900, (seed, text)
            assert [path for path in sorted(folder.rglob("*")) if path not in before and path.is_file()] == [], seed
        assert time.process_time() - began < SECONDS, seed
    # A tokenizer is read by nobody but the child process.
    assert num_refused > count / 20 or name == "tokenizer.json", "the damages are too slight to test anything"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("served")) as made:
        yield made


@pytest.mark.parametrize("name", UPLOADS)
def test_many_through_the_page(
    name: str,
    good: dict[str, Path],
    server: Server,
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
):
    """All that the checks refuse, which takes a moment; of what a child process reads, a few."""
    monkeypatch.setattr("fusion_ui.projects.fetching.try_in_child", lambda *_, **__: None)
    visitor, (add, _), children = Visitor(server), UPLOADS[name], 0
    whole = [] if name.endswith(".zip") or add is not add_model else [*good["model"].iterdir()]
    others = [visitor.send(other.name, other.read_bytes()) for other in whole if other.name != name]
    for seed in range(1000, 1000 + NUM_SENT):
        content = mutate(good[name].read_bytes(), random.Random(seed))
        is_refused = False
        if add is add_model:
            (tmp_path / name).write_bytes(content)
            try:
                add(good, tmp_path / name, tmp_path / "taken", settings)
            except FusionError:
                is_refused = True
        children += not is_refused
        if not is_refused and children > NUM_CHILDREN:
            continue
        message = send(visitor, name, content, others)
        assert "Traceback" not in str(message) and str(server.folder) not in str(message["output"]), seed
        assert not is_refused or message["output"]["data"][-1]["error"], seed
    assert Visitor(server).call("run", [])["success"]


def send(visitor: Visitor, name: str, content: bytes, others: list[dict[str, Any]]) -> dict[str, Any]:
    """As the page does, a model's file beside the others, which were sent before; what is answered."""
    kind, calls = UPLOADS[name][0].__name__, {call["api_name"]: call for call in visitor.config["dependencies"]}
    file = visitor.send(name, content)
    takes_file = {"add_model": [None, [file, *others], "", "", False], "add_statistics": [file, "m"]}
    data = takes_file.get(kind, [file, "", None, None, "", "", "text", "", "label", "", None])
    assert len(data) == len(calls[kind]["inputs"]), "the page's inputs changed: change them here too"
    return visitor.call(kind, data, seconds=90)
