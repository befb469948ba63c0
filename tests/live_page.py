"""The page on a real server in a process of its own, and the browser that looks at it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, sync_playwright

from fusion_ui.settings import read_settings

ROOT = Path(__file__).parent.parent
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ARGUMENTS += ["--disable-sync", "--no-first-run"]
PREPARED, MEASURED = ("demo", "downloads"), ("demo", "downloads", "statistics", "results")
"""Parts of this machine's cache: what was fetched, and with it what was computed."""


class Server:
    """A page on a free port, which can be killed and started again.

    Args:
        shared: parts of this machine's cache that it uses; whatever else it keeps is its own.
        module: what serves, given a folder and a port.
    """

    def __init__(
        self,
        folder: Path,
        shared: Sequence[str] = PREPARED,
        environment: Mapping[str, str] | None = None,
        module: str = "tests.small_demo",
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.address = folder, f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", module, str(folder / "data"), str(self.port)]
        cache = folder / "cache"
        cache.mkdir()
        for name in shared:
            (read_settings().cache_dir / name).mkdir(exist_ok=True)
            (cache / name).symlink_to(read_settings().cache_dir / name)
        self.environment = os.environ | {"FUSION_UI_CACHE_DIR": str(cache)} | dict(environment or {})

    def start(self) -> None:
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(self.command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        for _ in range(900):
            assert self.process.poll() is None, self.read_log()
            try:
                urlopen(self.address, timeout=1).read()
                return
            except OSError:
                time.sleep(0.2)
        self.kill()
        pytest.fail("the server did not start")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def read_log(self) -> str:
        return (self.folder / "log").read_text()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.kill()
        if error is None:
            assert "a handler failed" not in self.read_log(), "the server logged a bug"


@contextmanager
def open_browser() -> Iterator[Browser]:
    """This machine's Chromium, or Playwright's own where it has none."""
    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield opened
        opened.close()


def wait_until_up_to_date(page: Page, alpha: float | None = None) -> None:
    """Until RegMean, at `alpha` where it is given, is drawn with all its numbers."""
    name = "RegMean" if alpha is None else f"RegMean α={alpha:g}"
    is_drawn = """name => {
      const plot = document.querySelector('#accuracy .live-plot');
      const isDone = document.querySelector('#status')?.innerText.includes('Up to date');
      return isDone && plot?.data?.some(t => name === 'RegMean' ? t.name?.startsWith(name) : t.name === name);
    }"""
    try:
        page.wait_for_function(is_drawn, arg=name, timeout=240_000)
    except TimeoutError:
        drawn = page.evaluate("() => document.querySelector('#accuracy .live-plot')?.data?.map(t => t.name)")
        pytest.fail(f"{name} was not drawn, but {drawn}; {page.inner_text('#status')!r}")


def wait_for_words(page: Page, element: str, words: str) -> None:
    """Until an element says something that matches `words`, a regular expression."""
    says = "([element, words]) => document.querySelector(element)?.innerText.match(words)"
    try:
        page.wait_for_function(says, arg=[element, words], timeout=240_000)
    except TimeoutError:
        pytest.fail(f"{element} did not say {words!r}, but {page.inner_text(element)!r}")


def open_tab(page: Page, name: str) -> None:
    """Open a tab of Look closer, from the menu where the window has no room for it."""
    if not page.locator("#closer .tab-wrapper").is_visible():
        page.locator("#closer button").first.click()
        page.locator("#closer .tab-wrapper").wait_for()
    page.wait_for_timeout(400)  # tabs that have no room move into the menu once they were measured
    tab = page.locator("#closer").get_by_role("tab", name=name, exact=True)
    if tab.is_visible():
        tab.click()
    else:
        page.locator("#closer .overflow-menu button").first.click()
        page.locator("#closer .overflow-dropdown button", has_text=name).click()
