"""Data of strangers is read in a child process: what unfolds, hangs or kills there ends with a sentence here."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lying_child import _LIES
from served import ROOT, Server, Visitor, serve
from test_odd_data_files import SAME_AS_PLAIN
from tiny_models import tiny_bert, write_data, write_model
from tiny_project import write_project
from watched_children import children, soon

from fusion_ui.child import ChildLimits, _Child, environment, run_child
from fusion_ui.domains.columns import Preview, preview
from fusion_ui.domains.summary import summarise
from fusion_ui.errors import DomainError, FusionError, RecipeError, StatisticError, StoppedError
from fusion_ui.progress import Progress
from fusion_ui.projects import confined
from fusion_ui.projects.building import blank_project, present_models
from fusion_ui.projects.confined import (
    DomainWriting,
    FileLook,
    HubLook,
    Reading,
    StatisticsCheck,
    Summary,
    read_confined,
)
from fusion_ui.projects.data import DataPlace, look_at, read_data
from fusion_ui.projects.project import Project, ProjectExpert, read_split
from fusion_ui.settings import Settings
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.ui.bringing import Bringing
from fusion_ui.ui.handlers import Handlers
from fusion_ui.workspace import Workspace

COLUMNS = ("text", None, "label")
MIB = 1 << 20


def read(reading: Reading[Any], seconds: float = 120.0, memory_bytes: int = 2 << 30) -> Any:
    return read_confined(reading, seconds, memory_bytes, 64 * MIB, Progress())


def assert_sentence(error: BaseException) -> None:
    text = str(error)
    assert text.endswith(".") and text.isprintable() and 20 < len(text) < 900, text


# What is read is the same as here.


@pytest.mark.parametrize("name", [*SAME_AS_PLAIN][::6])
def test_a_file_gives_the_same_as_without_a_child(name: str, tmp_path: Path):
    file, content, _ = SAME_AS_PLAIN[name]
    (path := tmp_path / file).write_bytes(content)
    assert read(FileLook(path)) == preview(path)


@pytest.mark.parametrize("content", [b"", b"text,label\n", b'text,label\n"a', b"\xff\xfe\x00", b"text,label\na,b,c\n"])
def test_a_file_is_refused_with_the_same_sentence(content: bytes, tmp_path: Path):
    (path := tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DomainError) as here:
        Summary(blank_project(), DataPlace(path), COLUMNS, 64).read()
    with pytest.raises(DomainError) as there:
        read(Summary(blank_project(), DataPlace(path), COLUMNS, 64))
    assert str(here.value) == str(there.value)


def test_a_summary_counts_the_same_tokens(tmp_path: Path):
    project, place = write_project(tmp_path, 1), DataPlace(write_data(tmp_path / "a.csv", 60))
    for own, tokenizer in ((blank_project(), None), (project, Tokenizer(present_models(project)[0], 64))):
        found = read(Summary(own, place, COLUMNS, 64))
        assert found == summarise(read_data(place, COLUMNS, tmp_path), tokenizer)
        assert (found.token_lengths is None) == (tokenizer is None)


def test_a_domain_is_cut_into_the_same_parts(tmp_path: Path):
    project, place = write_project(tmp_path / "made", 1), DataPlace(write_data(tmp_path / "a.csv", 90))
    writing = DomainWriting(project, place, "new", COLUMNS, tmp_path / "here", tmp_path)
    here, there = writing.read(), read(replace(writing, folder=tmp_path / "there"))
    assert (here.notes, here.num_sentences) == (there.notes, there.num_sentences)
    for split in ("calibrate", "select", "report"):
        assert read_split(here.domain, split) == read_split(there.domain, split)
    with pytest.raises(RecipeError, match="something called"):
        read(replace(writing, name=project.domains[0].name))


def test_free_text_in_the_place_of_labels_comes_back_as_a_note(tmp_path: Path):
    lines = ["text,label", *(f"a{i},{'x' * 2000} {i}" for i in range(600))]
    (path := tmp_path / "a.csv").write_text("\n".join(lines))
    found = read(Summary(blank_project(), DataPlace(path), COLUMNS, 64))
    assert not found.num_by_label and any("600 different labels" in note for note in found.notes)
    assert 0 < len(read(FileLook(path)).num_by_label) < 600


def test_data_of_the_hub_is_the_same_and_no_token_but_the_visitors_is_sent(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in hub.environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    hub.add_dataset("owner/data", {"train.csv": write_data(tmp_path / "a.csv", 60).read_bytes()}, "hf_ofTheVisitor")
    place = DataPlace(dataset="owner/data", token="hf_ofTheVisitor")
    found = read(HubLook(place))
    assert (found.parts, found.preview) == look_at(place)
    writing = DomainWriting(blank_project(), place, "", COLUMNS, tmp_path / "domains", tmp_path / "cache")
    assert read(writing).num_sentences == 60
    with pytest.raises(FusionError) as refused:
        read(HubLook(replace(place, token=None)))
    assert_sentence(refused.value)


def test_statistics_are_checked_as_without_a_child(tmp_path: Path):
    model = write_model(tmp_path / "model", tiny_bert())
    project = Project("p", "P", None, None, (ProjectExpert("m", "M", model, "d"),), ())
    (path := tmp_path / "gram.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    for find in (StatisticsCheck(project, "m", path).read, partial(read, StatisticsCheck(project, "m", path))):
        with pytest.raises(StatisticError) as refused:
            find()
        assert_sentence(refused.value)


# What unfolds, hangs or dies.


def repeated_text(num_rows: int = 200, size: int = 20 * MIB) -> bytes:
    """A Parquet file of some kilobytes whose dictionary holds one long text, which every row has."""
    buffer = io.BytesIO()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * num_rows, pa.int32()), pa.array(["a" * size]))
    labels = pa.array([f"{i % 2}" for i in range(num_rows)])
    pq.write_table(pa.table({"text": column, "label": labels}), buffer, compression="zstd", data_page_size=1 << 10)
    return buffer.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "text.parquet": repeated_text,
    "fields.csv": lambda: b"," * (100 * MIB) + b"\n" + b"," * 10,
    "rows.jsonl": lambda: b"{}\n" * (20 * MIB),
    "array.json": lambda: b"[" + b"{}," * (20 * MIB) + b"{}]",
    "nested.json": lambda: b'[{"text": ' + b"[" * (8 * MIB) + b"]" * (8 * MIB) + b"}]",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_unfolds_harms_its_own_process_alone(name: str, tmp_path: Path):
    (path := tmp_path / name).write_bytes(BOMBS[name]())
    before, most = psutil.Process().memory_info().rss, [0]

    def watch(child: psutil.Process) -> None:
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            most[0] = max(most[0], child.memory_info().rss)
            time.sleep(0.01)

    soon(watch)
    with pytest.raises(DomainError) as refused:
        read(FileLook(path), memory_bytes=512 * MIB)
    assert_sentence(refused.value)
    if name != "nested.json":  # which is refused for its depth
        assert "512 MiB of memory" in str(refused.value)
    assert psutil.Process().memory_info().rss - before < 100 * MIB and most[0] < 900 * MIB
    assert children() == []


def test_a_child_that_hangs_is_ended_when_its_time_is_over(tmp_path: Path):
    path, began = write_data(tmp_path / "a.csv"), time.monotonic()
    soon(lambda child: child.suspend())
    with pytest.raises(DomainError, match=r"took more than 3 s.*Bring a smaller"):
        read(FileLook(path), seconds=3.0)
    assert time.monotonic() - began < 20 and children() == []


def test_a_child_that_dies_is_told_of(tmp_path: Path):
    path = write_data(tmp_path / "a.csv")
    soon(lambda child: os.kill(child.pid, signal.SIGKILL))
    with pytest.raises(DomainError, match="died, or took more than"):
        read(FileLook(path))
    assert read(FileLook(path)) == preview(path)


def test_the_systems_clock_ends_a_child_whose_interpreter_foreign_code_holds(tmp_path: Path):
    script = "from fusion_ui.child import answer_parent; import re\n"
    script += "answer_parent(lambda task, progress: bool(re.match('(a+)+b', 'a' * 64)))"
    (tmp_path / "stubborn_child.py").write_text(script)
    made = ChildLimits(1.0, 1 << 30)
    with pytest.MonkeyPatch.context() as patch:
        known = environment(made)
        patch.setattr("fusion_ui.child.environment", lambda _: known | {"PYTHONPATH": f"{tmp_path}:{ROOT}"})
        child = _Child("stubborn_child", None, made)
    assert child.process.wait(60) == -signal.SIGALRM
    child.end()
    assert child.ending().failure == made.too_long


def test_a_child_ends_with_its_parent(tmp_path: Path):
    (tmp_path / "long_child.py").write_text(
        "import os, time; from pathlib import Path; from fusion_ui.child import answer_parent\n"
        "answer_parent(lambda task, progress: (Path(task).write_text(str(os.getpid())), time.sleep(300)))"
    )
    parent = (
        "import sys, time; import fusion_ui.child as c; limits = c.ChildLimits(200.0, 1 << 30)\n"
        "known = c.environment(limits); c.environment = lambda _: known | {'PYTHONPATH': sys.argv[1]}\n"
        "child = c._Child('long_child', sys.argv[2], limits); time.sleep(300)"
    )
    told, paths = tmp_path / "told", f"{tmp_path}:{ROOT}"
    begun = subprocess.Popen([sys.executable, "-c", parent, paths, str(told)], env=os.environ | {"PYTHONPATH": paths})
    end = time.monotonic() + 60
    while not (told.exists() and told.read_text()):
        assert time.monotonic() < end and begun.poll() is None
        time.sleep(0.05)
    child = psutil.Process(int(told.read_text()))
    begun.kill()
    begun.wait()
    child.wait(20)


@pytest.mark.parametrize("lie", [*_LIES, "endless", "silent"])
def test_what_a_child_says_is_taken_for_nothing_but_data(lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(confined, "run_child", lambda module, *more: run_child("tests.lying_child", *more))
    began, folder = time.monotonic(), tmp_path / "domains"
    folder.mkdir()
    for reading in (
        FileLook(tmp_path / lie),
        DomainWriting(blank_project(), DataPlace(tmp_path / lie), "", COLUMNS, folder, tmp_path),
    ):
        with pytest.raises(FusionError) as refused:
            read(reading)
        assert str(refused.value).isprintable() and len(str(refused.value)) < 2500
    assert time.monotonic() - began < 30 and children() == []


# As the page does it.


@pytest.fixture
def bringing(tmp_path: Path) -> Bringing:
    settings = Settings(cache_dir=tmp_path / "cache", host="0.0.0.0", num_threads=1, max_worker_bytes=1 << 29)
    handlers = Handlers(Workspace(settings), blank_project())
    return Bringing(handlers.workspace, handlers.sessions, handlers.project)


def test_a_stranger_adds_data_through_a_child_and_sees_how_far_it_is(bringing: Bringing, tmp_path: Path):
    place, seen = DataPlace(write_data(tmp_path / "a.csv", 60)), list[int]()
    steps: list[Any] = []
    for step in bringing.add_data("me", place, "a", COLUMNS):
        steps.append(step)
        seen.append(len(children()))
    assert max(seen) == 1 and seen[-1] == 0 and steps[0][1] == "Reading a.csv in a process of its own"
    assert steps[-1][0].startswith("Added a: 60 sentences")
    (domain,) = bringing.sessions.get("me").own.domains
    assert domain.report.is_relative_to(bringing.sessions.folder_of(bringing.sessions.get("me")))
    *_, found = bringing.preview("me", str(place.path))
    assert isinstance(found, Preview)
    *_, figure = bringing.summarise("me", place, COLUMNS)
    assert isinstance(figure, dict) and figure["data"]


def test_stopping_ends_the_child_and_leaves_nothing(bringing: Bringing, tmp_path: Path):
    place, session = DataPlace(write_data(tmp_path / "a.csv", 60)), bringing.sessions.get("me")
    with pytest.raises(StoppedError):
        for _ in bringing.add_data("me", place, "a", COLUMNS):
            session.stop()
    assert children() == [] and not session.own.domains
    assert not [path for path in bringing.sessions.folder_of(session).rglob("*") if path.is_file()]
    with pytest.raises(StoppedError):
        for _ in bringing.preview("me", str(place.path)):
            session.stop()
    assert children() == []


def test_data_that_unfolds_while_it_is_added_changes_nothing(bringing: Bringing, tmp_path: Path):
    (path := tmp_path / "a.parquet").write_bytes(repeated_text())
    session = bringing.sessions.get("me")
    with pytest.raises(DomainError, match="512 MiB of memory"):
        list(bringing.add_data("me", DataPlace(path), "a", COLUMNS))
    assert not session.own.domains and children() == []
    assert not [path for path in bringing.sessions.folder_of(session).rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # The child may take less than what would harm this machine.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSION_UI_MAX_WORKER_BYTES", str(1 << 29))
        with serve(tmp_path_factory.mktemp("served")) as made:
            yield made


def test_the_server_answers_everybody_while_and_after_somebody_brings_a_bomb(server: Server, tmp_path: Path):
    visitor, other = Visitor(server), Visitor(server)
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    look = visitor.calls["preview"]["id"]
    for name in ("text.parquet", "rows.jsonl"):
        (path,) = visitor.upload(name, BOMBS[name]()).json()
        file = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        assert visitor.join(look, [file]).status_code == 200
        began = time.monotonic()
        assert other.http.get("/healthz").status_code == 200 and time.monotonic() - began < 5
        said = [message for message in visitor.follow() if message["msg"] == "process_completed"]
        assert "512 MiB of memory" in str(said[-1]), said[-1]
    assert process.memory_info().rss - before < 300 * MIB
    (path,) = other.upload("a.csv", write_data(tmp_path / "a.csv", 40).read_bytes()).json()
    shown = other.call(look, [{"path": path, "orig_name": "a.csv", "meta": {"_type": "gradio.FileData"}}])
    assert "40 rows." in str(shown)
    assert process.children(recursive=True) == []
