"""Everybody can read the page: axe-core finds no grave fault, and nothing is cut off or wider than the window.

Every tab is filled once, every fold is open, and the same page is then looked at in both themes and at three widths.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from live_page import Server, open_browser, open_tab, wait_for_words, wait_until, wait_until_up_to_date
from playwright.sync_api import Page

from fusion_ui.projects.project import Project
from tests.server_process import MEASURED

TABS = ("Layers", "Pairs", "Growth", "Flips", "Try it", "How it works")
OWN_TABS = ("Models", "Data", "Statistics")
THEMES, WIDTHS = ("light", "dark"), (390, 1280, 1920)
GRAVE = ("serious", "critical")
NOT_OURS = {
    ("aria-prohibited-attr", '[aria-label="Static column"]'): "the lock in the header of a gradio table",
}
"""(rule, part of the selector) -> what it is, where it cannot be mended from here."""

FIND_FAULTS = """async () => {
  const {violations} = await axe.run(document, {resultTypes: ['violations']});
  return violations.flatMap(({id, impact, nodes}) => nodes.map(node => ({
    id, impact, target: node.target.flat().join(' '), html: node.html.slice(0, 160), why: node.failureSummary})));
}"""

# Of everything that shows a text: what lies outside of the window or of what cuts it, and cannot be scrolled to.
FIND_CUT = """() => {
  const found = [], wide = innerWidth;
  const say = (e, words) => found.push(
    `${words}: ${e.tagName} '${(e.textContent || '').trim().slice(0, 40)}' in #${e.closest('[id]')?.id}`);
  if (document.scrollingElement.scrollWidth > wide) {
    const isCut = e =>
      e && e !== document.body && (getComputedStyle(e).overflowX !== 'visible' || isCut(e.parentElement));
    const beyond = [...document.querySelectorAll('body *')].filter(e => e.checkVisibility()
      && e.getBoundingClientRect().right > wide && !isCut(e.parentElement));
    const named = beyond.map(e => `${e.tagName} .${e.className} in #${e.closest('[id]')?.id}`);
    found.push(`the page is ${document.scrollingElement.scrollWidth} wide: ${named.slice(-8)}`);
  }
  for (const e of document.querySelectorAll('body *:not(script, style, option)')) {
    if (e.closest('svg, .tip') || !e.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (box.width <= 1 || box.height <= 1) continue; // for screen readers alone
    if (/hidden|clip/.test(style.overflowX) && style.textOverflow !== 'ellipsis' && e.scrollWidth > e.clientWidth + 1)
      say(e, 'cut');
    let at = e.parentElement;
    for (; at && at !== document.body; at = at.parentElement) {
      const {overflowX} = getComputedStyle(at), around = at.getBoundingClientRect();
      if (/auto|scroll/.test(overflowX)) break;
      if (/hidden|clip/.test(overflowX) && (box.right > around.right + 1 || box.left < around.left - 1)) {
        say(e, `cut by .${at.className}`);
        break;
      }
    }
    if (at === document.body && (box.right > wide + 1 || box.left < -1)) say(e, 'outside of the window');
  }
  for (const plot of document.querySelectorAll('.live-plot')) {
    const around = plot.getBoundingClientRect();
    if (!around.width) continue;
    for (const text of plot.querySelectorAll('svg text')) {
      const box = text.getBoundingClientRect();
      if (!box.width) continue;
      if (box.right > around.right + 2 || box.left < around.left - 2 || box.bottom > around.bottom + 2)
        say(text, `cut off the figure #${plot.closest('[id]').id}`);
    }
  }
  return [...new Set(found)];
}"""


@pytest.fixture(scope="module")
def page(demo: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with Server(tmp_path_factory.mktemp("served"), MEASURED) as server, open_browser() as browser:
        opened, errors = browser.new_page(viewport={"width": 1280, "height": 900}), list[str]()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(server.address)
        wait_until_up_to_date(opened, 0.9)
        fill(opened)
        yield opened
        assert errors == []


def fill(page: Page) -> None:
    """Ask every tab for what it shows, and open every fold."""
    wait_for_words(page, "#best", "Best on select")
    for name in ("own", "weights", "options", "exceptions", "hub"):
        page.locator(f"#{name} button").first.click()
    page.locator("#own-labels button").first.click()
    open_tab(page, "Layers")
    page.locator("#examine").click()
    wait_for_words(page, "#about-pairs", "from the base")
    for name, words in (("pairs", "6 pairs"), ("growth", "4 merges")):
        open_tab(page, name.title())
        page.locator(f"#{name}-method input").click()
        page.get_by_role("option", name="Simple mean", exact=True).click()
        page.locator(f"#{name}-run").click()
        wait_for_words(page, f"#{name}-status", f"Simple mean: {words}")
    open_tab(page, "Flips")
    page.locator("#find-flips").click()
    wait_for_words(page, "#confusion-status", "accuracy")
    open_tab(page, "Try it")
    page.locator("#try-text textarea").fill("A lovely film, I laughed all evening.")
    page.locator("#try-text textarea").press("Enter")
    wait_for_words(page, "#try-status", "1 sentence, 8 models")
    open_tab(page, "How it works")
    page.locator("#how-draw").click()
    wait_until(page, "() => document.querySelector('#how .live-plot')?.data?.length > 3", timeout=60_000)
    page.locator("#copy-link").click()
    page.locator("#link").wait_for()


def show(page: Page, theme: str, tab: str, width: int = 1280) -> None:
    """What is dark is a class of the body; the tabs of the visitor's own project take turns with the others."""
    page.evaluate("dark => document.body.classList.toggle('dark', dark)", theme == "dark")
    page.set_viewport_size({"width": width, "height": 900})
    open_tab(page, tab)
    own = OWN_TABS[TABS.index(tab) % len(OWN_TABS)]
    page.locator("#own").get_by_role("tab", name=own).click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(800)  # figures take the width that there is


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("tab", TABS)
def test_axe_finds_no_grave_fault(page: Page, theme: str, tab: str):
    show(page, theme, tab)
    if not page.evaluate("() => 'axe' in window"):
        page.add_script_tag(path=AXE_FILE_PATH)
    grave = [fault for fault in page.evaluate(FIND_FAULTS) if fault["impact"] in GRAVE]
    ours = [f for f in grave if not any(f["id"] == rule and part in f["target"] for rule, part in NOT_OURS)]
    assert not ours, "\n".join(f"{f['id']}: {f['target']}\n  {f['html']}\n  {f['why']}" for f in ours)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("tab", TABS)
def test_nothing_is_cut_off_or_wider_than_the_window(page: Page, theme: str, tab: str):
    for width in WIDTHS:
        show(page, theme, tab, width)
        for _ in range(20):  # figures take the new width one after the other
            if not (cut := page.evaluate(FIND_CUT)):
                break
            page.wait_for_timeout(250)
        assert cut == [], f"at {width} pixels"
