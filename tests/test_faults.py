"""Killed at any moment: what is on the disk is whole or absent, the server starts, and the same request gives the same.

`python -m benchmarks faults` kills fifty times; here a handful.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from served import ROOT, Server, Visitor
from tiny_models import tiny_bert, write_model

from fusion_ui.checkpoints.trial import try_in_child
from fusion_ui.errors import CheckpointError

NUM_KILLS = 5
NUM_SERVER_KILLS = 2
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


def be_busy(server: Server) -> None:
    """Merge at one alpha after another, and make a zip, until the server is gone."""
    visitor = Visitor(server)
    controls = visitor.controls()
    place = next(i for i, value in enumerate(controls) if value == 0.9)
    visitor.call("arrive", [VISITOR, "", None])
    for i in range(1000):
        controls[place] = round(0.01 * (i % 100), 2)
        visitor.call("post", controls)
        visitor.call("run", [])
        if i % 3 == 2:
            visitor.upload(f"{i}.csv", b"text,label\nw1,negative\n")
            visitor.call("make_zip", ["regmean"])


def kill_server(folder: Path, count: int, seed: int) -> None:
    """Kill a server in the middle of its work again and again; fail where anything is not as before."""
    server = Server(folder)
    server.start()
    try:
        kill_again(server, folder, count, random.Random(seed))
    finally:
        server.kill()
    assert "a handler failed" not in server.log, server.log[-5000:]


def kill_again(server: Server, folder: Path, count: int, generator: random.Random) -> None:
    """Let a visitor keep it busy, kill it, start it, and look."""
    numbers, _ = see(server)
    known: list[str] = []
    for _ in range(count):
        worker = threading.Thread(target=_until_it_is_gone, args=(lambda: be_busy(server),), daemon=True)
        worker.start()
        time.sleep(generator.uniform(0.3, 6.0))
        server.kill()
        worker.join(60)
        server.start()
        again, listed = see(server)
        assert again == numbers and set(known) <= set(listed), "another history, or other numbers, after a kill"
        known = listed
        sessions = [path.name for path in (folder / "cache" / "sessions").glob("*")]
        assert all(name.startswith(f"{server.process.pid}-") for name in sessions), "a dead server's files are left"
        leftovers = [path for path in folder.rglob(".*") if path.suffix in (".part", ".old")]
        assert leftovers == []
    assert known, "nothing was remembered at all"


def _until_it_is_gone(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:
        print("the visitor was cut off:", type(error).__name__)


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
    with pytest.raises(CheckpointError, match="ends the process that reads it"):
        try_in_child(model)
    try_in_child(model)
