"""Models that tag words, in a real browser: scores, typed sentences, flips, and data that a person brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live_page import Server, open_browser, wait_until
from playwright.sync_api import Page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("taggers")


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    with Server(folder, (), module="tests.tagger_project") as server, open_browser() as browser:
        opened, errors = browser.new_page(viewport={"width": 1440, "height": 900}), list[str]()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(server.address)
        wait_for(opened, "#status", "Up to date")
        yield opened
        assert errors == []


def wait_for(page: Page, element: str, words: str) -> None:
    is_there = "([id, words]) => document.querySelector(id)?.innerText.includes(words)"
    wait_until(page, is_there, arg=[element, words], timeout=120_000)


def test_taggers_are_scored_typed_to_and_held_against_each_other(page: Page):
    assert "Expert places" in page.inner_text("#numbers")
    page.locator("#closer button").first.click()
    page.get_by_role("tab", name="Try it").click()
    field = page.locator("#try-text textarea, #try-text input").first
    field.fill("pako ti lamu\nti ti")
    field.press("Enter")
    wait_for(page, "#try-status", "2 sentences")
    assert page.locator("#answers th").all_inner_texts()[:2] == ["Model", "Answer"]
    rows = dict(
        row.locator("td").all_inner_texts() for row in page.locator("#answers section").first.locator("tr").all()[1:]
    )
    assert "B-" in rows["Expert places"]
    page.get_by_role("tab", name="Flips").click()
    page.locator("#find-flips").click()
    wait_for(page, "#flips-shown", " shown")
    wait_for(page, "#confusion-status", "an answer is more than a label")
    text = page.inner_text("#flips")
    assert "B-" in text and "\x1f" not in text


def test_a_person_brings_a_tagger_and_a_conll_file(page: Page, folder: Path):
    page.locator("#own button").first.click()
    files = [path for path in sorted((folder / "data" / "new").iterdir()) if path.name != "README.md"]
    page.locator("#own-model-files input[type=file]").set_input_files(files)
    page.locator("#own-model-files").get_by_text(files[-1].stem[:5]).first.wait_for()
    page.locator("#own-name input, #own-name textarea").first.fill("mine")
    page.locator("#own-add-model").click()
    wait_for(page, "#own-message", "Added mine: BertForTokenClassification")
    assert "It knows I-PER and no B-PER" in page.inner_text("#own-message")
    page.get_by_role("tab", name="Data").click()
    page.locator("#own-data input[type=file]").set_input_files(folder / "data" / "new.conll")
    wait_for(page, "#own-message", "'text' holds words and 'label' a label for each. Labels: ")
    page.locator("#own-domain-name input, #own-domain-name textarea").first.fill("mine")
    page.locator("#own-add-data").click()
    wait_for(page, "#own-message", "Added mine: ")
    wait_for(page, "#numbers", "Expert mine")
