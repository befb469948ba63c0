"""A stranger's data in a real browser: how far its reading is, what was found, and a bomb that harms nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live_page import open_browser, wait_until
from playwright.sync_api import Page
from served import serve
from test_confined import repeated_text
from tiny_models import write_data


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setenv("FUSION_UI_MAX_WORKER_BYTES", str(1 << 29))
    with serve(tmp_path / "served") as server, open_browser() as browser:
        opened, errors = browser.new_page(viewport={"width": 1440, "height": 900}), list[str]()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(server.address)
        yield opened
        assert errors == []


def wait_for_message(page: Page, words: str) -> None:
    is_there = "words => document.querySelector('#own-message')?.innerText.includes(words)"
    wait_until(page, is_there, arg=words, timeout=120_000)


def test_a_stranger_brings_a_bomb_and_then_data(page: Page, tmp_path: Path):
    (bomb := tmp_path / "text.parquet").write_bytes(repeated_text())
    page.locator("#own button").first.click()
    page.get_by_role("tab", name="Data").click()
    page.locator("#own-data input[type=file]").set_input_files(bomb)
    wait_for_message(page, "Reading text.parquet in a process of its own")
    wait_for_message(page, "took more than 512 MiB of memory")
    page.locator("#own-data button[aria-label*='lear'], #own-data button[aria-label*='emove']").first.click()
    page.locator("#own-data input[type=file]").set_input_files(write_data(tmp_path / "a.csv", 60))
    wait_for_message(page, "60 rows.")
    page.locator("#own-add-data").click()
    wait_for_message(page, "Reading a.csv in a process of its own")
    wait_for_message(page, "Added a: 60 sentences")
    assert "calibrate, select, report" in page.inner_text("#own-contents")
