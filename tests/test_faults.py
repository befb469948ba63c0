"""Killed at any moment: what is on the disk is whole or absent, the server starts, and the same request gives the same.

`python -m benchmarks faults` kills fifty times; here a handful.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest
from killed_children import kill_children
from safetensors import SafetensorError
from safetensors.torch import load_file
from served import ROOT, Server, Visitor
from tiny_models import tiny_bert, write_model

from fusion_ui.checkpoints.trial import try_in_child
from fusion_ui.errors import CheckpointError
from fusion_ui.results.history import MAX_MERGES

NUM_KILLS = 5
NUM_SERVER_KILLS = 2
MOST_SECONDS = 4.0
"""Until a busy server is killed."""
MEASURED = 40
"""Sentences that the tiny project has to measure on."""
VISITOR = "0123456789abcdef" * 2


def kill_work(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Kill what writes to the disk; how often each kind of work was, and what was found broken."""
    command = [sys.executable, "-m", "tests.killed_work", str(folder), str(count), str(seed)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60 + 60 * count)
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


def see(server: Server) -> tuple[Any, Any]:
    """What a visitor is shown at first: the table of numbers, and the merges of the history."""
    visitor = Visitor(server)
    *_, listed = visitor.call("arrive", [VISITOR, "", None])["output"]["data"]
    assert visitor.call("post", visitor.controls())["success"]
    numbers = visitor.call("run", [])["output"]["data"][3]
    return sorted(numbers["data"]), [row["key"] for row in listed["rows"]]  # rows stand in the order they were ready in


def digest_of_zip(server: Server) -> str:
    """The merged model's bytes, as a visitor downloads them."""
    visitor = Visitor(server)
    made = visitor.call("make_zip", ["regmean"], seconds=120)["output"]["data"][1]["value"]
    answer = visitor.http.get(f"/gradio_api/file={made['path']}")
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as pack:
        (name,) = (name for name in pack.namelist() if name.endswith("model.safetensors"))
        return hashlib.sha256(pack.read(name)).hexdigest()


def be_busy(server: Server, seed: int) -> None:
    """Measure and merge at one setting after another, upload, and make a zip, until the server is gone."""
    visitor, generator = Visitor(server), random.Random(seed)
    controls = visitor.controls()
    alpha, num_examples = controls.index(0.9), controls.index(256)
    visitor.call("arrive", [VISITOR, "", None])
    for i in range(1000):
        controls[alpha] = round(generator.random(), 2)
        if i % 2:
            controls[num_examples] = generator.randint(8, MEASURED)  # the slider begins at 8
        for name, data in (("post", controls), ("run", [])):
            ended = visitor.call(name, data)
            assert ended["success"], f"{name} of {controls}: {ended['output']}"
        if i % 3 == 0:
            assert visitor.upload(f"{i}.csv", b"text,label\nw1,negative\n").status_code == 200
            assert visitor.call("make_zip", ["regmean"])["success"]


def kill_server(folder: Path, count: int, seed: int, make_server: type[Server] = Server) -> None:
    """Kill a server in the middle of its work again and again; fail where anything is not as before."""
    server = make_server(folder)
    server.start()
    try:
        kill_again(server, folder, count, random.Random(seed))
    finally:
        server.kill()
    assert "a handler failed" not in server.log, server.log[-5000:]


def kill_again(server: Server, folder: Path, count: int, generator: random.Random) -> None:
    """Let a visitor keep it busy, kill it, start it, and look."""
    numbers, _ = see(server)
    exported = digest_of_zip(server)
    known: list[str] = []
    for i in range(count):
        busy = Busy(server, generator.randrange(2**32))
        busy.start()
        time.sleep(generator.uniform(0.1, MOST_SECONDS))
        busy.is_over.set()
        server.kill()
        busy.join(60)
        assert not busy.failure and not busy.is_alive(), f"the visitor met an error before kill {i}: {busy.failure}"
        torn = [f"{path.name}: {why}" for path in folder.rglob("*.safetensors") if (why := find_damage(path))]
        assert torn == [], f"torn after kill {i}"
        server.start()
        again, listed = see(server)
        assert again == numbers, "other numbers after a kill"
        lost = set(known) - set(listed)
        assert not lost or len(listed) >= MAX_MERGES, f"{len(lost)} of {len(known)} merges are lost after kill {i}"
        assert digest_of_zip(server) == exported, "the same request gave other bytes after a kill"
        known = listed
        sessions = [path.name for path in (folder / "cache" / "sessions").glob("*")]
        assert all(name.startswith(f"{server.process.pid}-") for name in sessions), "a dead server's files are left"
        leftovers = [path for path in folder.rglob(".*") if path.suffix in (".part", ".old")]
        assert leftovers == []
    assert known, "nothing was remembered at all"


def find_damage(path: Path) -> str:
    """Why a file of tensors cannot be read; nothing for one that is whole, or only on its way."""
    if any(part.endswith(".part") for part in path.parts):
        return ""
    try:
        load_file(path)
    except SafetensorError as error:
        return str(error)
    return ""


class Busy(threading.Thread):
    """A visitor at work until the server is killed. What goes wrong before that is kept."""

    def __init__(self, server: Server, seed: int) -> None:
        super().__init__(daemon=True)
        self.server, self.seed, self.is_over, self.failure = server, seed, threading.Event(), ""

    def run(self) -> None:
        try:
            be_busy(self.server, self.seed)
        except Exception as error:
            if not self.is_over.is_set():
                self.failure = f"{type(error).__name__}: {error}"


def test_killed_work_leaves_whole_files_or_none_and_is_done_again_the_same(tmp_path: Path):
    found = kill_work(tmp_path, NUM_KILLS, seed=7)
    assert found["problems"] == [] and sum(found["killed"].values()) == NUM_KILLS and len(found["killed"]) == 5


def test_a_killed_server_starts_again_with_its_history_and_without_leftovers(tmp_path: Path):
    kill_server(tmp_path, NUM_SERVER_KILLS, seed=7)


def test_a_model_whose_trial_is_killed_is_refused_with_a_sentence(tmp_path: Path):
    model = write_model(tmp_path / "model", tiny_bert())
    before = {child.pid for child in psutil.Process().children()}

    def kill() -> None:
        while not (children := [c for c in psutil.Process().children() if c.pid not in before]):
            time.sleep(0.02)
        time.sleep(0.5)
        for child in children:
            os.kill(child.pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(CheckpointError, match="the process died, or took more than"):
        try_in_child(model)
    try_in_child(model)


def test_a_killed_child_fails_its_job_alone_and_a_killed_download_begins_again(tmp_path: Path):
    assert kill_children(tmp_path, 1, seed=7) == 3
