"""What a person waits for, in a real browser: start to usable page, release of the slider to numbers, a cached alpha.

The server is `python app.py` on the prepared demo with an empty result cache, so every number is computed. Memory is
the server's peak.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.timing import report
from fusion_ui.settings import read_settings
from fusion_ui.ui.request import default_request
from fusion_ui.workspace import Workspace

NUM_RUNS = 10
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FIND = "document.querySelector('#accuracy .live-plot')?.data?.find(t => t.name === name)"
IS_CURRENT = "!/0\\.3\\)$/.test(t.marker.color.replaceAll(' ', ''))"
HAS_COUNT = "t.customdata.every(row => row[2] >= count)"
COUNTED = f"([name, count]) => {{ const t = {FIND}; return t && {IS_CURRENT} && {HAS_COUNT}; }}"
UP_TO_DATE = "() => document.querySelector('#status').innerText.includes('Up to date')"


def main() -> None:
    settings = read_settings()
    workspace = Workspace(settings)
    project = workspace.prepare_demo()
    workspace.measure(workspace.plan(default_request(project).recipe(project, "regmean")))
    with tempfile.TemporaryDirectory() as cache:
        for name in ("demo", "downloads", "statistics"):
            (Path(cache) / name).symlink_to(settings.cache_dir / name)
        print("\nThe page, prepared demo, empty result cache")
        starts = [with_server(cache, lambda page, server: None)[0] for _ in range(NUM_RUNS)]
        report("start to a slider that can be dragged", starts, 15.0)
        with_server(cache, _drag)


def with_server(cache: str, work):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"FUSION_UI_CACHE_DIR": cache, "FUSION_UI_PORT": str(port)}
    started = time.perf_counter()
    server = subprocess.Popen([sys.executable, "app.py"], env=environment, stderr=subprocess.DEVNULL)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            while True:
                try:
                    page.goto(f"http://127.0.0.1:{port}")
                    break
                except Exception:  # refused until the server listens
                    if server.poll() is not None:
                        raise
                    time.sleep(0.1)
            page.wait_for_selector("#alpha input[type=range]")
            seconds = time.perf_counter() - started
            result = work(page, server)
            browser.close()
        return seconds, result
    finally:
        server.terminate()
        server.wait()


def _drag(page: Page, server: subprocess.Popen) -> None:
    opened = time.perf_counter()
    page.wait_for_function(COUNTED, arg=["RegMean α=0.9", 8], timeout=120_000)
    print(f"{'page open to the first RegMean numbers':<58} {time.perf_counter() - opened:7.3f} s  (n = 1)")
    page.wait_for_function(UP_TO_DATE, timeout=600_000)
    print(f"{'page open to all eight rows on 2,400 sentences':<58} {time.perf_counter() - opened:7.3f} s  (n = 1)")
    page.wait_for_function("() => document.querySelector('#best').innerText.includes('Best')", timeout=600_000)
    first, hundred, cached = [], [], []
    alphas = [round(0.11 + 0.07 * i, 2) for i in range(NUM_RUNS + 1)]
    for alpha in alphas:
        released = _set(page, alpha)
        page.wait_for_function(COUNTED, arg=[f"RegMean α={alpha:g}", 8], timeout=60_000, polling=20)
        first.append(time.perf_counter() - released)
        page.wait_for_function(COUNTED, arg=[f"RegMean α={alpha:g}", 100], timeout=60_000, polling=20)
        hundred.append(time.perf_counter() - released)
        page.wait_for_function(UP_TO_DATE, timeout=120_000)
    for alpha in alphas:
        released = _set(page, alpha)
        page.wait_for_function(COUNTED, arg=[f"RegMean α={alpha:g}", 600], timeout=60_000, polling=20)
        cached.append(time.perf_counter() - released)
        time.sleep(0.3)
    report("release of the slider to the first changed numbers", first[1:], 1.0)
    report("release of the slider to four domains x 100 sentences", hundred[1:], 6.0)
    report("release of the slider to a cached alpha, complete", cached[1:], 0.3)
    with Path(f"/proc/{server.pid}/status").open() as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1e6
    print(f"{'peak memory of the server':<58} {peak:7.2f} GB   limit 3 GB: {'held' if peak <= 3 else 'MISSED'}")


def _set(page: Page, alpha: float) -> float:
    """Move the slider as a hand does: press, move, release; return the moment of release."""
    slider = page.locator("#alpha input[type=range]")
    box = slider.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    # The thumb's centre travels from half its width to half its width before the end.
    x = box["x"] + 8 + alpha * (box["width"] - 16)
    page.mouse.move(box["x"] + 8 + float(slider.input_value()) * (box["width"] - 16), y)
    page.mouse.down()
    page.mouse.move(x, y, steps=4)
    reached = float(slider.input_value())
    for _ in range(abs(round((alpha - reached) * 100))):  # pixels are coarser than the step
        x += 0.01 * (box["width"] - 16) * (1 if alpha > reached else -1)
        page.mouse.move(x, y)
    page.mouse.up()
    released = time.perf_counter()
    if round(float(slider.input_value()), 2) != alpha:
        page.locator("#alpha input[type=number]").fill(f"{alpha:g}")
        page.locator("#alpha input[type=number]").press("Tab")
        released = time.perf_counter()
    return released


if __name__ == "__main__":
    main()
