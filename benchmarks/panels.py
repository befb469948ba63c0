"""First paint of every panel of the demo once its numbers exist, in a real browser: from the press of its button.

Every run is a visitor of its own on a server that has computed everything before. The page itself counts from its
being asked for.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page

from benchmarks.page import UP_TO_DATE, with_server
from benchmarks.timing import report
from fusion_ui.settings import read_settings

NUM_RUNS, LIMIT = int(os.environ.get("FUSION_UI_BENCH_RUNS", "5")), 1.0
SENTENCE = "The plot is thin, but I would watch it again."
HAS_CELLS = "() => document.querySelector('#{} .live-plot')?.data?.[0]?.z?.flat().some(v => v !== null)"
HAS_POINTS = "() => document.querySelector('#{} .live-plot')?.data?.some(t => t.x?.length)"
PANELS = {
    "Layers": ("#examine", HAS_CELLS.format("layers")),
    "Pairs": ("#pairs-run", HAS_CELLS.format("pairs")),
    "Growth": ("#growth-run", HAS_POINTS.format("growth")),
    "Flips": ("#find-flips", "() => document.querySelectorAll('#flips tr').length > 1"),
    "Try it": ("#try-answer", "() => document.querySelectorAll('#answers tr').length > 1"),
    "How it works": ("#how-draw", HAS_POINTS.format("how")),
}
"""Tab -> its button, and what is there once it is painted."""


def main() -> None:
    settings = read_settings()
    with tempfile.TemporaryDirectory() as cache:
        for name in ("demo", "downloads", "statistics", "results"):
            (settings.cache_dir / name).mkdir(exist_ok=True)
            (Path(cache) / name).symlink_to(settings.cache_dir / name)
        print("\nPanels of the demo, everything computed before")
        with_server(cache, _look)


def _look(page: Page, server: subprocess.Popen) -> None:
    browser, address = page.context.browser, page.url
    assert browser is not None
    page.wait_for_function(UP_TO_DATE, timeout=600_000)
    for tab in PANELS:
        _press(page, tab)  # which computes whatever is not known yet
        if tab in ("Pairs", "Growth"):  # which are painted long before their last number is there
            said = f"() => document.querySelector('#{tab.lower()}-status').innerText.includes('scored on')"
            page.wait_for_function(said, timeout=600_000)
    painted: dict[str, list[float]] = {name: [] for name in ("page", *PANELS)}
    for _ in range(NUM_RUNS):
        _visit(browser, address, painted)
    report("the page, asked for to both figures drawn", painted.pop("page"))
    for tab, seconds in painted.items():
        report(f"{tab}, pressed to painted", seconds, LIMIT)


def _visit(browser: Browser, address: str, painted: dict[str, list[float]]) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page, started = context.new_page(), time.perf_counter()
    page.goto(address)
    for figure in ("accuracy", "curve"):
        page.wait_for_function(HAS_POINTS.format(figure), polling=20, timeout=60_000)
    painted["page"].append(time.perf_counter() - started)
    page.wait_for_function(UP_TO_DATE, timeout=120_000)
    for tab in PANELS:
        painted[tab].append(_press(page, tab))
    context.close()


def _press(page: Page, tab: str) -> float:
    button, is_painted = PANELS[tab]
    if not page.locator("#closer [role=tablist]").is_visible():
        page.locator("#closer button").first.click()
    page.get_by_role("tab", name=tab).click()
    if tab == "Try it":
        page.locator("#try-text textarea").fill(SENTENCE)
    page.locator(button).wait_for()
    started = time.perf_counter()
    page.locator(button).click(no_wait_after=True)
    page.wait_for_function(is_painted, polling=20, timeout=600_000)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
