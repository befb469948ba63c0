"""Flips and typed sentences in a real browser, where every name, label and sentence tries to run as code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hostile_project import BRACES, DOLLAR, IMAGE, LABELS, NUM_REPORTED
from live_page import Server, open_browser, wait_for_words, wait_until
from playwright.sync_api import Page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with (
        Server(tmp_path_factory.mktemp("hostile"), (), module="tests.hostile_project") as server,
        open_browser() as browser,
    ):
        opened, errors = browser.new_page(viewport={"width": 1440, "height": 900}), list[str]()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(server.address)
        wait_for_words(opened, "#status", "Up to date")
        opened.locator("#closer button").first.click()
        yield opened
        assert errors == []


def check_nothing_ran(page: Page) -> None:
    assert page.evaluate("() => window.ran") is None, "a name, a label or a sentence ran as code"
    assert page.locator("#closer img").count() == 0, "a name, a label or a sentence was drawn as markup"


def choose(page: Page, list_id: str, option: str) -> None:
    page.locator(f"#{list_id} input").click()
    page.get_by_role("option", name=option, exact=True).click()
    wait_until(page, "() => !document.querySelector('[role=option]')")  # a closing list fades for a while


def wait_for(page: Page, element: str, words: str) -> None:
    is_there = "([id, words]) => document.querySelector(id)?.innerText.includes(words)"
    wait_until(page, is_there, arg=[element, words], timeout=60_000)


def test_flips_are_found_filtered_and_drawn_as_text(page: Page):
    page.get_by_role("tab", name="Flips").click()
    choose(page, "flips-model", f"Expert one {IMAGE}")
    choose(page, "flips-other", f"Expert two {DOLLAR} {BRACES}")
    page.locator("#find-flips").click()
    wait_for(page, "#flips-status", f"Expert one {IMAGE} against Expert two {DOLLAR} {BRACES}:")
    num_flips = int(page.inner_text("#flips-status").split("}}: ")[1].split()[0])
    wait_for(page, "#flips-shown", f"{min(50, num_flips)} of {num_flips} shown")
    assert num_flips > 50, "one page would hold them all"
    assert page.locator("#flips tr").count() == 51
    text = page.inner_text("#flips")
    assert all(part in text for part in (*LABELS, IMAGE, DOLLAR, BRACES, f"second {IMAGE}"))
    page.locator("#more-flips").click()
    wait_for(page, "#flips-shown", f"{num_flips} of {num_flips} shown")
    choose(page, "flips-kind", "✗ broken")
    rows = "() => [...document.querySelectorAll('#flips td:last-child')].map(cell => cell.innerText)"
    wait_until(page, f"() => new Set(({rows})()).size === 1")
    assert set(page.evaluate(rows)) == {"✗ broken"}
    num_broken = sum(int(cell) for cell in page.locator("#flips-counts td:nth-child(4)").all_inner_texts())
    wait_for(page, "#flips-shown", f"of {num_broken} shown")
    choose(page, "flips-domain", f"one {IMAGE}")
    num_here = int(page.locator("#flips-counts td:nth-child(4)").first.inner_text())
    wait_for(page, "#flips-shown", f"of {num_here} shown")
    page.locator("#flips-text input, #flips-text textarea").first.fill("no such text")
    wait_for(page, "#flips-shown", "No sentence is so.")
    wait_until(page, "() => document.querySelector('#confusion .live-plot')?.data?.length === 1")
    counts = "() => document.querySelector('#confusion .live-plot').data[0].text.flat().map(Number)"
    assert sum(page.evaluate(counts)) == NUM_REPORTED
    choose(page, "confused-on", f"two {DOLLAR} {BRACES}")
    wait_for(page, "#confusion-status", f"on two {DOLLAR} {BRACES}, {NUM_REPORTED} sentences (report): accuracy")
    check_nothing_ran(page)


def test_a_typed_sentence_is_answered_by_every_model(page: Page):
    page.get_by_role("tab", name="Try it").click()
    field = page.locator("#try-text textarea, #try-text input").first
    field.fill(f"w1 {IMAGE}\n{DOLLAR} {BRACES}\n" + "w2 " * 60)
    field.press("Enter")
    wait_for(page, "#try-status", "3 sentences, 5 models")
    text = page.inner_text("#answers")
    shown = ("RegMean", "Simple mean", f"Expert one {IMAGE}", "Ensemble", *LABELS, DOLLAR, BRACES, "the rest is cut")
    assert all(part in text for part in shown)
    for row in page.locator("#answers tr:has(td)").all():
        _, *shares = row.locator("td").all_inner_texts()
        assert sum(float(share.removesuffix(" %")) for share in shares) == pytest.approx(100, abs=0.11)
    field.fill("x\n" * 21)
    page.locator("#try-answer").click()
    wait_for(page, "#try-status", "21 sentences are too many at once")
    check_nothing_ran(page)
