"""Long work outlives a reload of its page: it is remembered until it has ended, and goes on once, for its visitor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from live_page import Server, open_browser, open_tab, wait_for_words, wait_until, wait_until_up_to_date
from playwright.sync_api import Browser, Page

from fusion_ui.errors import RecipeError
from fusion_ui.projects.building import blank_project
from fusion_ui.ui.request import FuseRequest, default_request
from fusion_ui.ui.resuming import remember, wait_for_unfinished
from fusion_ui.ui.session import Session
from fusion_ui.ui.sessions import Sessions

ASKED = ("ties", "better")


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sessions:
    monkeypatch.setattr("fusion_ui.ui.resuming.PARTING_SECONDS", 0.5)
    project = blank_project()
    start: FuseRequest = default_request(project)
    return Sessions(lambda: Session(project, start), tmp_path)


def open_page(sessions: Sessions, name: str, visitor: str = "me") -> Session:
    session = sessions.get(name)
    session.visitor = visitor
    return session


def work(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
    yield [values]
    if "refused" in values:
        raise RecipeError("no")
    yield ["done"]


def asked_by(name: str) -> gr.Request:
    return gr.Request(session_hash=name)


def test_work_that_ended_or_was_refused_is_not_remembered(sessions: Sessions):
    session, handle = open_page(sessions, "a"), remember("pairs", work, sessions)
    for step in handle(asked_by("a"), *ASKED):
        assert step in ([ASKED], ["done"]) and session.unfinished == {"pairs": ASKED}
    assert session.unfinished == {}
    with pytest.raises(RecipeError):
        list(handle(asked_by("a"), "refused"))
    assert session.unfinished == {} and wait_for_unfinished(sessions, session) == {}


@pytest.mark.parametrize("is_heard", [True, False], ids=["followed to its end", "nobody listens"])
@pytest.mark.parametrize("is_back", [True, False], ids=["session taken back", "left later than loaded again"])
def test_work_of_a_page_that_was_left_goes_on_once_and_for_its_visitor_alone(
    sessions: Sessions, is_heard: bool, is_back: bool
):
    open_page(sessions, "a")
    steps = remember("pairs", work, sessions)(asked_by("a"), *ASKED)
    next(steps)
    again = open_page(sessions, "b")
    assert wait_for_unfinished(sessions, open_page(sessions, "c", "you")) == {}
    sessions.forget("a")
    list(steps) if is_heard else steps.close()  # type: ignore[attr-defined]
    if is_back:
        left = sessions.take_back("me")
        assert left is not None
        again.inherit(left)
    assert wait_for_unfinished(sessions, open_page(sessions, "c", "you")) == {}
    assert wait_for_unfinished(sessions, again) == {"pairs": ASKED}
    assert wait_for_unfinished(sessions, again) == {}


def test_work_of_another_page_that_is_open_stays_there(sessions: Sessions):
    open_page(sessions, "a")
    steps = remember("pairs", work, sessions)(asked_by("a"), *ASKED)
    next(steps)
    assert wait_for_unfinished(sessions, open_page(sessions, "b")) == {}
    assert sessions.get("a").unfinished == {"pairs": ASKED}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def start_pairs(page: Page) -> None:
    open_tab(page, "Pairs")
    page.locator("#pairs-run").click()


def test_a_reload_in_the_middle_of_pairs_goes_on_to_their_end(browser: Browser, tmp_path: Path):
    """Nothing is computed again: what the first page had kept is older than its end."""
    with Server(tmp_path, [], module="tests.slow_demo") as server:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(server.address)
        wait_until_up_to_date(page)
        start_pairs(page)
        wait_for_words(page, "#pairs-status", r"1 of 3 pairs")
        kept = {path: path.stat().st_ino for path in (tmp_path / "data" / "cache" / "results").glob("*.safetensors")}
        page.reload()
        wait_for_words(page, "#said", r"Pairs")
        if shots := os.environ.get("SHOTS"):
            page.screenshot(path=f"{shots}/going_on.png")
        wait_for_words(page, "#said", r"Pairs, after the reload: .*3 pairs, each scored")
        open_tab(page, "Pairs")
        wait_for_words(page, "#pairs-status", r"3 pairs, each scored")
        wait_until(page, "() => document.querySelectorAll('#pairs-table tr').length === 4")
        assert kept and all(path.stat().st_ino == number for path, number in kept.items()), "computed again"
        page.close()
