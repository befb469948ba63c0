"""How soon the processor is free after Stop is pressed, and after the page is closed in the middle of work.

python -m benchmarks.stopping [RUNS]
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import psutil

from benchmarks.timing import report
from fusion_ui.settings import read_settings
from tests.served import Server, Visitor

STEP_SECONDS, CALM_SECONDS = 0.05, 0.3
BUSY = 0.2
"""Share of one core above which the server works."""


def main(runs: int = 5) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache, server = Path(folder) / "cache", Server(Path(folder) / "server", "tests.small_demo")
        cache.mkdir()
        for name in ("demo", "downloads", "statistics"):
            (cache / name).symlink_to(read_settings().cache_dir / name)
        server.start(600, FUSION_UI_CACHE_DIR=str(cache))
        try:
            process = psutil.Process(server.process.pid)
            report(
                "Stop pressed to a free processor", [free_after(server, process, i, False) for i in range(runs)], 1.0
            )
            report("page closed to a free processor", [free_after(server, process, i, True) for i in range(runs)], 2.0)
        finally:
            server.kill()


def free_after(server: Server, process: psutil.Process, run: int, is_closed: bool) -> float:
    """Seconds from the end of a piece of work that nobody wants any more to a processor that rests."""
    wait_until(process, is_busy=False, seconds=120)
    visitor, is_open = Visitor(server), threading.Event()
    is_open.set()
    beating = threading.Thread(target=_beat, args=(visitor, is_open), daemon=True)
    beating.start()
    controls = visitor.controls()
    controls[controls.index(0.9)] = round(0.03 + 0.07 * run + (0.02 if is_closed else 0.0), 2)
    visitor.call("post", controls)
    visitor.join("run", [])
    wait_until(process, is_busy=True, seconds=60)
    time.sleep(0.5)
    began = time.perf_counter()
    if is_closed:
        is_open.clear()
        visitor.http.close()
    else:
        visitor.http.post("/gradio_api/run/stop", json={"data": [], "session_hash": visitor.session})
    free = wait_until(process, is_busy=False, seconds=60) - began
    is_open.clear()
    return max(free, 0.0)


def wait_until(process: psutil.Process, is_busy: bool, seconds: float) -> float:
    """The moment since which the server has been busy, or has been resting for a while."""
    end, since = time.perf_counter() + seconds, None
    while (now := time.perf_counter()) < end:
        before = sum(process.cpu_times()[:2])
        time.sleep(STEP_SECONDS)
        share = (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - now)
        if (share > BUSY) != is_busy:
            since = None
        elif since is None:
            since = now
        if since is not None and (is_busy or now - since > CALM_SECONDS):
            return since
    raise SystemExit(f"the server was not {'busy' if is_busy else 'free'} within {seconds:g} s")


def _beat(visitor: Visitor, is_open: threading.Event) -> None:
    try:
        with visitor.http.stream("GET", f"/gradio_api/heartbeat/{visitor.session}", timeout=60) as stream:
            for _ in stream.iter_raw():
                if not is_open.is_set():
                    return
    except (httpx.HTTPError, RuntimeError) as error:
        print("the page was closed:", type(error).__name__, file=sys.stderr)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
