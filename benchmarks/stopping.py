"""How soon the processor is free after Stop is pressed, and after the page is closed in the middle of work.

    python -m benchmarks.stopping [RUNS]

Each of RUNS times for every kind of work, at settings that nobody had before; the slowest counts. That work was cut
short by Stop is asked of the server, which counts how its jobs end.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.timing import report
from fusion_ui.settings import read_settings
from tests.served import Heart, Server, Visitor
from tests.tiny_models import tiny_bert, write_model

STEP_SECONDS, CALM_SECONDS = 0.05, 0.3
BUSY = 0.2
"""Share of one core above which the server works."""
WORK: dict[str, list[Any] | None] = {
    "run": [],
    "find_best": [],
    "pairs": ["ties", "better", "own"],
    "growth": None,
    "find_flips": None,
    "make_zip": ["regmean"],
    "add_model": None,
}
"""What is begun, with its inputs; None: what its controls say when the page is new, and to add, an uploaded model."""
LIMITS = {False: ("Stop pressed to a free processor", 1.0), True: ("page closed to a free processor", 2.0)}


def main(runs: int = 3) -> None:
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        cache, server = Path(folder) / "cache", Server(Path(folder) / "server", "tests.small_demo")
        cache.mkdir()
        for name in ("demo", "downloads"):
            (cache / name).symlink_to(read_settings().cache_dir / name)
        server.start(600, FUSION_UI_CACHE_DIR=str(cache))
        process = psutil.Process(server.process.pid)
        try:
            warm_up(server)
            for is_closed, (what, limit) in LIMITS.items():
                for number, name in enumerate(WORK):
                    seeds = [len(WORK) * (run + runs * is_closed) + number for run in range(runs)]
                    seconds = [free_after(server, process, name, seed, is_closed) for seed in seeds]
                    report(f"{what}: {name}", seconds, limit)
                    if max(seconds) > limit:
                        missed.append(f"{what} took {max(seconds):.2f} s for {name}, and may take {limit:g} s")
        finally:
            server.kill()
    if missed:
        raise SystemExit("MISSED: " + "; ".join(missed) + ".")


def warm_up(server: Server) -> None:
    """Let a server import and load what its first visitor waits for once, which nothing can stop."""
    visitor = Visitor(server)
    visitor.call("post", visitor.controls())
    for name in ("run", "make_zip"):
        if not visitor.call(name, inputs_of(visitor, name), seconds=300)["success"]:
            raise SystemExit(f"MISSED: {name} failed.")
    visitor.http.close()


def inputs_of(visitor: Visitor, name: str) -> list[Any]:
    """What a kind of work is begun with."""
    if name == "add_model":
        with tempfile.TemporaryDirectory() as folder:
            model = write_model(Path(folder) / "model", tiny_bert())
            return [None, [visitor.send(file.name, file.read_bytes()) for file in model.iterdir()], "", "", False]
    if (given := WORK[name]) is not None:
        return given
    values = {part["id"]: part["props"].get("value") for part in visitor.config["components"]}
    return [values.get(number) for number in visitor.calls[name]["inputs"]]


def free_after(server: Server, process: psutil.Process, name: str, seed: int, is_closed: bool) -> float:
    """Seconds from the end of a piece of work that nobody wants any more to a processor that rests."""
    wait_until(process, is_busy=False, seconds=120)
    visitor = Visitor(server)
    heart = Heart(visitor)
    controls, stopped = visitor.controls(), count_stopped(server)
    controls[controls.index(0.9)] = round(0.005 + seed / 101, 3)
    controls[controls.index(256)] = 20 + seed % 44  # of 64: statistics are measured anew, too
    if not visitor.call("post", controls)["success"]:
        raise SystemExit("MISSED: the controls were refused.")
    joined = visitor.join(name, inputs_of(visitor, name))
    if joined.status_code != 200:
        raise SystemExit(f"MISSED: {name} was refused: {joined.text}")
    wait_until(process, is_busy=True, seconds=60)
    time.sleep(0.5)
    wait_until(process, is_busy=True, seconds=5)
    began = time.perf_counter()
    if is_closed:
        heart.stop()
    else:
        answer = visitor.http.post("/gradio_api/run/stop", json={"data": [], "session_hash": visitor.session})
        if answer.status_code != 200:
            raise SystemExit(f"MISSED: Stop was refused: {answer.text}")
    free = wait_until(process, is_busy=False, seconds=60) - began
    heart.stop()
    end = time.monotonic() + 10
    # Whose page has gone has nobody who takes the end of the work, so it is counted at some later time.
    while not is_closed and count_stopped(server) == stopped:
        if time.monotonic() > end:
            raise SystemExit(f"MISSED: {name} was not cut short, so nothing was measured.")
        time.sleep(0.1)
    return max(free, 0.0)


def count_stopped(server: Server) -> float:
    """How many jobs were cut short until now."""
    text = httpx.get(f"{server.address}/metrics").text
    return sum(map(float, re.findall(r'^fusion_ui_jobs_total\{.*outcome="stopped"\} (\S+)$', text, re.MULTILINE)))


def wait_until(process: psutil.Process, is_busy: bool, seconds: float) -> float:
    """The moment since which the server and its children have been busy, or have been resting for a while."""
    end, since = time.perf_counter() + seconds, None
    while (now := time.perf_counter()) < end:
        before = _read_seconds(process)
        time.sleep(STEP_SECONDS)
        share = (_read_seconds(process) - before) / (time.perf_counter() - now)
        if (share > BUSY) != is_busy:
            since = None
        elif since is None:
            since = now
        if since is not None and (is_busy or now - since > CALM_SECONDS):
            return since
    raise SystemExit(f"MISSED: the server was not {'busy' if is_busy else 'free'} within {seconds:g} s.")


def _read_seconds(process: psutil.Process) -> float:
    """Of a core, used by the process and those of its children that live."""
    total = sum(process.cpu_times()[:2])
    for child in process.children(recursive=True):
        try:
            total += sum(child.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
