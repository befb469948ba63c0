"""A live server's child processes killed at work, and the server itself in the middle of a download.

What a visitor asked for then fails with a sentence, the server goes on, and the same request gives what it should.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from hub_server import HubServer
from safetensors.torch import load_file
from served import Server, Visitor
from tiny_models import tiny_bert, write_data, write_model

MODEL, DATA = "owner/model", "owner/data"
CHILD_SECONDS = 60.0
"""For a child to be there, on a busy machine."""
WORK_SECONDS = 0.5
"""Of a child, until it is killed: less than it needs to import what it works with."""


class Asking(threading.Thread):
    """One call of a visitor, which somebody else disturbs meanwhile."""

    def __init__(self, call: Callable[[], dict[str, Any]]) -> None:
        super().__init__(daemon=True)
        self._call, self.said, self.failure = call, dict[str, Any](), ""
        self.start()

    def run(self) -> None:
        try:
            self.said = self._call()
        except Exception as error:  # the server has gone; whoever expects an answer finds none
            self.failure = f"{type(error).__name__}: {error}"

    def answer(self) -> dict[str, Any]:
        """What it came to."""
        self.join(120)
        assert self.said, f"no answer came: {self.failure or 'the call goes on'}"
        return self.said


def kill_children(folder: Path, count: int, seed: int) -> int:
    """Kill so often each of a child that tries a model, one that downloads data, and a server that downloads a model.

    Returns:
        How many kills there were.

    Raises:
        AssertionError: something is not as before, or was told otherwise than in a sentence.
    """
    generator, server = random.Random(seed), Server(folder / "server")
    files = {file.name: file.read_bytes() for file in write_model(folder / "model", tiny_bert()).iterdir()}
    with HubServer() as hub:
        hub.add_model(MODEL, files)
        hub.add_dataset(DATA, {"train.csv": write_data(folder / "train.csv", 60).read_bytes()})
        server.environment |= hub.environment(folder / "home")
        server.start()
        try:
            for _ in range(count):
                kill_trial(server, files, generator.uniform(0.0, WORK_SECONDS))
                kill_reading(server, hub)
                kill_download(server, hub, folder / "home")
        finally:
            server.kill()
    assert "a handler failed" not in server.log, server.log[-5000:]
    return 3 * count


def kill_trial(server: Server, files: dict[str, bytes], seconds: float) -> None:
    """Kill the child that tries an uploaded model, after so many seconds."""
    visitor = Visitor(server)
    before = find_children(server)
    asking = Asking(lambda: visitor.add_model(files))
    end = time.monotonic() + CHILD_SECONDS
    while not (new := [child for child in find_children(server) if child not in before]):
        assert time.monotonic() < end and asking.is_alive(), f"no child came: {asking.said or asking.failure}"
        time.sleep(0.01)
    time.sleep(seconds)
    kill(new)
    check_refusal(server, asking.answer())
    check_taken(visitor.add_model(files))
    visitor.call("leave", [])


def kill_reading(server: Server, hub: HubServer) -> None:
    """Kill the child that downloads a data set, in the middle of its file."""
    visitor, hold = Visitor(server), hub.hold_next("train.csv")
    asking = Asking(lambda: visitor.add_data("", b"", DATA))
    assert hold.is_reached.wait(CHILD_SECONDS), f"no download began: {asking.said or asking.failure}"
    kill(find_children(server))
    hold.is_released.set()
    check_refusal(server, asking.answer())
    check_taken(visitor.add_data("", b"", DATA))
    visitor.call("leave", [])


def kill_download(server: Server, hub: HubServer, home: Path) -> None:
    """Kill the server in the middle of a model's weights, and start it again."""
    shutil.rmtree(home, ignore_errors=True)  # what an earlier round has fetched
    hold, visitor = hub.hold_next("model.safetensors"), Visitor(server)
    asking = Asking(lambda: visitor.call("add_model", [MODEL, [], "", "", False]))
    assert hold.is_reached.wait(CHILD_SECONDS), f"no download began: {asking.said or asking.failure}"
    server.kill()
    hold.is_released.set()
    asking.join(60)
    assert not asking.is_alive()
    for path in home.rglob("*.safetensors"):
        load_file(path)  # under its name lies a whole file or none
    server.start()
    visitor = Visitor(server)
    check_taken(visitor.call("add_model", [MODEL, [], "", "", False])["output"]["data"][-1])
    visitor.call("leave", [])


def find_children(server: Server) -> list[psutil.Process]:
    """The processes that the server has started and that live."""
    return psutil.Process(server.process.pid).children(recursive=True)


def kill(processes: list[psutil.Process]) -> None:
    assert processes, "nothing to kill"
    for process in processes:
        process.kill()


def check_refusal(server: Server, said: dict[str, Any]) -> None:
    """It was said in a sentence that the child died, and everybody else is served."""
    assert said["error"] and "died" in said["message"] and said["message"].endswith("."), said
    visitor = Visitor(server)
    assert visitor.call("post", visitor.controls())["success"] and visitor.call("run", [])["success"]
    visitor.call("leave", [])


def check_taken(said: dict[str, Any]) -> None:
    """The same again is taken."""
    assert not said["error"] and said["message"].startswith("Added "), said
