"""The page on a real server in a process of its own, and the browser that looks at it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, sync_playwright

from tests.server_process import PREPARED, ServerProcess, share_cache

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ARGUMENTS += ["--disable-sync", "--no-first-run"]


class Server(ServerProcess):
    """A page for a browser, to be used in a ``with`` block.

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
        own = {"FUSION_UI_CACHE_DIR": str(share_cache(folder / "cache", shared))}
        super().__init__(module, folder / "data", folder / "log", os.environ | own | dict(environment or {}))

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.kill()
        if error is None:
            assert "a handler failed" not in self.log, "the server logged a bug"


@contextmanager
def open_browser() -> Iterator[Browser]:
    """This machine's Chromium, or Playwright's own where it has none."""
    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield opened
        opened.close()


def wait_until(page: Page, is_true: str, arg: object = None, timeout: float = 60_000) -> None:
    """Until an expression of the page is true, asked ten times a second.

    At every frame, which is Playwright's default, asking what a page says lays it out again and again: that takes a
    whole core, which the server then does not have.
    """
    page.wait_for_function(is_true, arg=arg, timeout=timeout, polling=100)


def wait_until_up_to_date(page: Page, alpha: float | None = None) -> None:
    """Until RegMean, at `alpha` where it is given, is drawn with all its numbers."""
    name = "RegMean" if alpha is None else f"RegMean α={alpha:g}"
    is_drawn = """name => {
      const plot = document.querySelector('#accuracy .live-plot');
      const isDone = document.querySelector('#status')?.innerText.includes('Up to date');
      return isDone && plot?.data?.some(t => name === 'RegMean' ? t.name?.startsWith(name) : t.name === name);
    }"""
    try:
        wait_until(page, is_drawn, arg=name, timeout=240_000)
    except TimeoutError:
        drawn = page.evaluate("() => document.querySelector('#accuracy .live-plot')?.data?.map(t => t.name)")
        pytest.fail(f"{name} was not drawn, but {drawn}; {page.inner_text('#status')!r}")


def wait_for_words(page: Page, element: str, words: str) -> None:
    """Until an element says something that matches `words`, a regular expression."""
    says = "([element, words]) => document.querySelector(element)?.innerText.match(words)"
    try:
        wait_until(page, says, arg=[element, words], timeout=240_000)
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
