"""The tabs "Pairs" and "Growth" in a real browser: each button pressed, cells and points seen."""

from __future__ import annotations

import re

import pytest
from live_page import open_tab, wait_until, wait_until_up_to_date
from playwright.sync_api import Browser, Page
from test_page import address, browser, choose_project, page, small  # noqa: F401 - fixtures

from fusion_ui.merging.subsets import restrict_recipe
from fusion_ui.projects.project import Project
from fusion_ui.ui.comparison import project_evaluation
from fusion_ui.ui.request import default_request
from fusion_ui.workspace import Workspace

# Every 20 ms: how many numbers the figure shows.
WATCH = """id => {
  window.counts = [];
  setInterval(() => {
    const data = document.querySelector(`#${id} .live-plot`)?.data;
    const shown = !data ? 0 : id === 'pairs' ? data[0].z.flat().filter(v => v !== null).length : data[0].x.length;
    if (window.counts.at(-1) !== shown) window.counts.push(shown);
  }, 20);
}"""


def wait_for(page: Page, tab: str, words: str) -> None:  # noqa: F811
    says = "([tab, words]) => document.querySelector(`#${tab}-status`)?.innerText.match(words)"
    wait_until(page, says, arg=[tab, words], timeout=240_000)


def wait_for_cell(page: Page, value: float) -> None:  # noqa: F811
    """Until the cell of tweets and movies says so, both times that it is there."""
    shows = """value => {
      const cells = document.querySelector('#pairs .live-plot').data[0].z;
      return cells[1][1] === null && [cells[0][2], cells[2][0]].every(cell => Math.abs(cell - value) < 1e-9);
    }"""
    wait_until(page, shows, arg=value, timeout=60_000)


def accuracy(workspace: Workspace, project: Project, names: list[str]) -> dict[str, float]:
    """Domain -> accuracy of the simple mean of some experts, without the page."""
    recipe = restrict_recipe(default_request(project).recipe(project, "simple_mean"), names)
    candidate = workspace.candidate(workspace.plan(recipe))
    *_, last = workspace.evaluate([candidate], project_evaluation(workspace, project, "report"), [])
    return {score.domain: score.value for score in last.scores}


def choose_method(page: Page, tab: str, title: str) -> None:  # noqa: F811
    page.locator(f"#{tab}-method input").click()
    page.get_by_role("option", name=title, exact=True).click()


def test_every_pair_is_merged_and_drawn_one_by_one(page: Page, workspace: Workspace, small: Project) -> None:  # noqa: F811
    open_tab(page, "Pairs")
    choose_method(page, "pairs", "Simple mean")
    page.evaluate(WATCH, "pairs")
    page.get_by_label("Score itself").check()
    page.locator("#pairs-run").click()
    wait_for(page, "pairs", "[1-5] of 6 pairs")
    page.get_by_label("All other domains").check()  # while it is filled
    wait_for(page, "pairs", "Simple mean: 6 pairs, each scored on 120 sentences of the report split.")
    assert page.evaluate("() => window.counts.at(-1)") == 12 and len(page.evaluate("() => window.counts")) >= 4
    expected = accuracy(workspace, small, ["tweets", "movies"])
    wait_for_cell(page, (expected["products"] + expected["news"]) / 2)
    page.get_by_label("Their own domains").check()
    wait_for_cell(page, (expected["tweets"] + expected["movies"]) / 2)
    alone = [accuracy(workspace, small, [name]) for name in ("tweets", "movies")]
    gains = [expected[name] - max(a[name] for a in alone) for name in ("tweets", "movies")]
    page.get_by_label("Against the better expert").check()
    wait_for_cell(page, sum(gains) / 2)
    assert len(page.locator("#pairs-table tr").all()) == 7
    assert re.search(r"Tweets \+ Movie reviews\s+\d+\.\d \[", page.inner_text("#pairs-table"))


def test_stop_keeps_the_pairs_that_are_known(page: Page) -> None:  # noqa: F811
    open_tab(page, "Pairs")
    choose_method(page, "pairs", "Diagonal RegMean")
    page.locator("#pairs-run").click()
    wait_for(page, "pairs", "[1-5] of 6 pairs")
    page.locator("#pairs-stop").click()
    wait_for(page, "pairs", "Stopped. ")
    known = int(re.findall(r"Stopped\. (\d) of 6 pairs are known", page.inner_text("#pairs-status"))[0])
    assert 1 <= known < 6 and len(page.locator("#pairs-table tr").all()) == known + 1
    assert "Stopped" not in page.inner_text("#status"), "only the tab's own work was to be stopped"


def test_experts_are_added_in_the_order_that_was_dragged(page: Page, workspace: Workspace, small: Project) -> None:  # noqa: F811
    open_tab(page, "Growth")
    rows = page.locator("#growth-order li span")
    rows.get_by_text("Tweets").wait_for()
    assert rows.all_inner_texts() == ["Tweets", "Product reviews", "Movie reviews", "News editorials"]
    page.locator("#growth-order li").nth(3).drag_to(page.locator("#growth-order li").nth(0))
    assert rows.all_inner_texts() == ["News editorials", "Tweets", "Product reviews", "Movie reviews"]
    page.get_by_label("Move Movie reviews up").focus()
    page.keyboard.press("Enter")
    assert rows.all_inner_texts() == ["News editorials", "Tweets", "Movie reviews", "Product reviews"]
    assert page.evaluate("() => document.activeElement.ariaLabel") == "Move Movie reviews up"
    assert "number 3 of 4" in page.inner_text("#growth-order .said")
    # Who no longer takes part leaves the list, and comes back at its end.
    page.get_by_label("Tweets", exact=True).first.uncheck()
    wait_until(page, "() => document.querySelectorAll('#growth-order li').length === 3")
    page.get_by_label("Tweets", exact=True).first.check()
    wait_until(page, "() => document.querySelectorAll('#growth-order li').length === 4")
    assert rows.all_inner_texts() == ["News editorials", "Movie reviews", "Product reviews", "Tweets"]
    wait_until_up_to_date(page)
    choose_method(page, "growth", "Simple mean")
    page.evaluate(WATCH, "growth")
    page.locator("#growth-run").click()
    wait_for(page, "growth", "Simple mean: 4 merges, each scored on 120 sentences of the report split.")
    counts = page.evaluate("() => window.counts")
    assert counts[-1] == 4 and len(counts) >= 3
    traces = {t["name"]: t["y"] for t in page.evaluate("() => document.querySelector('#growth .live-plot').data")}
    expected = accuracy(workspace, small, ["news", "movies"])
    assert traces["Tweets"][1] == pytest.approx(expected["tweets"])
    assert traces["mean so far"][1] == pytest.approx((expected["news"] + expected["movies"]) / 2)
    assert traces["mean of all"][1] == pytest.approx(sum(expected.values()) / 4)
    assert "ensemble so far" not in traces


def test_the_order_is_there_however_early_its_tab_is_opened(browser: Browser, address: str) -> None:  # noqa: F811
    """What the start of the page says about a tab arrives before the tab was ever drawn."""
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    opened.goto(address)
    wait_until_up_to_date(opened)  # the start of the page has been answered
    open_tab(opened, "Growth")
    opened.locator("#growth-order li span").get_by_text("Tweets").wait_for()
    opened.close()


def test_what_cannot_be_grown_stands_on_the_status_line(page: Page) -> None:  # noqa: F811
    open_tab(page, "Growth")
    choose_method(page, "growth", "SLERP")
    page.locator("#growth-run").click()
    wait_for(page, "growth", "SLERP merges 2 experts, and 4 take part.")


def test_another_project_starts_with_nothing_and_the_list_follows(page: Page) -> None:  # noqa: F811
    open_tab(page, "Pairs")
    choose_method(page, "pairs", "Simple mean")
    page.locator("#pairs-run").click()
    wait_for(page, "pairs", "Simple mean: 6 pairs")
    choose_project(page, "Your own models")
    wait_until(page, "() => !document.querySelector('#pairs-table td')", timeout=30_000)
    assert page.evaluate("() => document.querySelector('#pairs .live-plot').data[0].z") == []
    wait_for(page, "pairs", "Merges every two models")
    page.get_by_role("tab", name="Growth").click()
    page.locator("#growth-run").click()
    wait_for(page, "growth", "Add models and data first.")
    assert page.locator("#growth-order li").count() == 0
    choose_project(page, "Sentiment in four domains")
    wait_until(page, "() => document.querySelectorAll('#growth-order li').length === 4", timeout=30_000)


@pytest.mark.parametrize("tab", ["Pairs", "Growth"])
def test_the_tabs_fit_a_phone(browser: Browser, address: str, tab: str) -> None:  # noqa: F811
    opened = browser.new_page(viewport={"width": 390, "height": 844})
    opened.goto(address)
    wait_until_up_to_date(opened)
    open_tab(opened, tab)
    opened.locator(f"#{tab.lower()}-run").wait_for()
    assert opened.evaluate("() => document.documentElement.scrollWidth") <= 390
    opened.close()
