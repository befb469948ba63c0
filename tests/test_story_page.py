"""The whole story in a real browser: what a person does from the first look to a model in hand, and over a reload."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_page import Server, open_browser, open_tab, wait_for_words, wait_until, wait_until_up_to_date
from plain_transformers import answer_elsewhere
from playwright.sync_api import Browser, Page

from fusion_ui.projects.project import Project
from tests.server_process import MEASURED

SENTENCE = "A lovely film, I laughed all evening."
LABELS = "() => [...document.querySelectorAll('.merge .title b')].map(b => b.textContent)"
# Called after every key: where the focus is, and whether what had it before looks no different now.
FOLLOW = """sought => {
  const look = focused => {
    const looks = [];
    for (let at = focused, i = 0; at && at !== document.body && i < 4; at = at.parentElement, i++) {
      const s = getComputedStyle(at), isDrawn = s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0;
      looks.push([isDrawn && s.outline, s.boxShadow, s.borderColor, s.backgroundColor, s.textDecorationLine].join());
    }
    return looks.join(' | ');
  };
  const name = e => e === document.body ? '' : e.id.replace(/^range_id_.*/, '') || e.getAttribute('aria-label') ||
    e.closest('label')?.innerText || e.innerText || `${e.tagName} in ${e.closest('[id]:not([id^=range])')?.id}`;
  const {focused: last, look: before} = window.followed || {}, now = document.activeElement;
  const isUnseen = last && last !== now && last !== document.body && last.isConnected && look(last) === before;
  window.followed = {focused: now, look: look(now)};
  return {name: name(now), isSought: !!sought && now.matches(sought), unseen: isUnseen ? name(last) : ''};
}"""
# The stream of answers is closed a second and a half after the server has closed it.
CLOSE_LATE = """(() => {
  const fetching = window.fetch, closing = 'data: {"msg":"close_stream"';
  window.numLate = 0;
  const wait = async (chunk, controller) => {
    const at = chunk.indexOf(closing);
    if (at >= 0) {
      controller.enqueue(chunk.slice(0, at));
      window.numLate++;
      await new Promise(resolve => setTimeout(resolve, 1500));
    }
    controller.enqueue(chunk.slice(Math.max(at, 0)));
  };
  window.fetch = async (...asked) => {
    const response = await fetching(...asked);
    if (!response.url.includes('/queue/data')) return response;
    const late = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new TransformStream({transform: wait}));
    return new Response(late.pipeThrough(new TextEncoderStream()), {headers: response.headers});
  };
})()"""
IS_ON = "selector => document.activeElement.matches(selector)"


@pytest.fixture(scope="module")
def server(demo: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("served"), MEASURED) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    opened, errors = context.new_page(), list[str]()
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(server.address)
    wait_until_up_to_date(opened, 0.9)
    yield opened
    context.close()
    assert errors == []


def test_what_is_asked_while_the_answers_end_is_answered(browser: Browser, server: Server) -> None:
    context = browser.new_context()
    opened = context.new_page()
    opened.add_init_script(CLOSE_LATE)
    opened.goto(server.address)
    wait_for_words(opened, "#best", "Best on select: α = ")
    assert opened.evaluate("() => window.numLate") >= 1, "nothing was closed late"
    context.close()


def drag_to(page: Page, alpha: float) -> float:
    box = page.locator("#alpha input[type=range]").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.9 * box["width"], y)
    page.mouse.down()
    for i in range(9):
        page.mouse.move(box["x"] + (0.9 + (alpha - 0.9) * i / 8) * box["width"], y)
        time.sleep(0.02)
    page.mouse.up()
    return read_alpha(page)


def read_alpha(page: Page) -> float:
    return float(page.locator("#alpha input[type=number]").input_value())


def unpack(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    return folder / path.stem


def test_from_the_first_look_to_a_model_in_hand_and_back_after_a_reload(page: Page, tmp_path: Path) -> None:
    time.sleep(2.5)  # what is shown for so long stays in the history
    alpha = drag_to(page, 0.3)
    assert 0.2 < alpha < 0.4
    wait_until_up_to_date(page, alpha)
    wait_for_words(page, "#best", "Best on select: α = ")
    swept = page.evaluate("() => document.querySelector('#curve .live-plot').data.find(t => t.name === 'mean').x")
    assert len(swept) >= 21 and {0, 0.5, 1} <= set(swept)

    for tab, words in (("pairs", "6 pairs"), ("growth", "4 merges")):
        open_tab(page, tab.title())
        page.locator(f"#{tab}-method input").click()
        page.get_by_role("option", name="Simple mean", exact=True).click()
        page.locator(f"#{tab}-run").click()
        said = f"Simple mean: {words}, each scored on 120 sentences of the report split"
        wait_for_words(page, f"#{tab}-status", said)
    open_tab(page, "Flips")
    page.locator("#find-flips").click()
    wait_for_words(page, "#flips-status", f"RegMean α={alpha:g} against own expert")
    assert page.locator("#flips tr").count() > 1
    open_tab(page, "Try it")
    page.locator("#try-text textarea").fill(SENTENCE)
    page.locator("#try-text textarea").press("Enter")
    wait_for_words(page, "#try-status", "1 sentence, 8 models")
    answered = page.locator("#answers tr", has_text=f"RegMean α={alpha:g}").locator("td").all_inner_texts()

    page.locator("#present").click()
    assert not page.locator("#controls").is_visible() and not page.locator("#takeaway").is_visible()
    page.keyboard.press("ArrowLeft")
    wait_until_up_to_date(page, round(alpha - 0.01, 2))
    page.keyboard.press("ArrowRight")
    wait_until_up_to_date(page, alpha)
    page.keyboard.press("Escape")

    page.locator("#make-zip").click()
    page.wait_for_selector("#download-zip", timeout=240_000)
    with page.expect_download(timeout=60_000) as download:
        page.locator("#download-zip").click()
    download.value.save_as(tmp_path / download.value.suggested_filename)
    model = unpack(tmp_path / download.value.suggested_filename, tmp_path)
    assert json.loads((model / "recipe.json").read_text())["parameters"]["alpha"] == alpha
    (elsewhere,) = answer_elsewhere(model, [SENTENCE])
    assert [f"{100 * share:.1f} %" for share in map(elsewhere.get, ("negative", "positive"))] == answered[1:]

    wait_until(page, f"label => ({LABELS})().includes(label)", arg=f"RegMean α={alpha:g}", timeout=60_000)
    time.sleep(2.5)  # what is shown for so long stays in the list
    page.reload()
    wait_until_up_to_date(page, alpha)
    assert read_alpha(page) == alpha
    assert {f"RegMean α={alpha:g}", "RegMean α=0.9"} <= set(page.evaluate(LABELS))
    page.locator(".merge", has=page.get_by_text("RegMean α=0.9", exact=True)).locator("input").check()
    page.locator("#history-restore:enabled").click()
    wait_until_up_to_date(page, 0.9)
    assert read_alpha(page) == 0.9


class Keys:
    """A person without a mouse: presses keys and reads where the focus is. No script focuses or clicks anything."""

    def __init__(self, page: Page) -> None:
        self.page, self.unseen = page, set[str]()
        # What fades in would be looked at before it is there.
        page.add_style_tag(content="* { transition: none !important; }")

    def press(self, key: str, times: int = 1) -> None:
        for _ in range(times):
            self.page.keyboard.press(key)

    def tab(self, sought: str = "", is_back: bool = False) -> str:
        """On to the next, whose name it returns, or nothing if it is `sought`. Where the focus was is to be seen."""
        self.press("Shift+Tab" if is_back else "Tab")
        told = self.page.evaluate(FOLLOW, sought)
        self.unseen |= {told["unseen"]} - {""}
        return "" if told["isSought"] else told["name"]

    def go_to(self, selector: str, is_back: bool = False, most: int = 100) -> None:
        """Tab until the focus is on it."""
        passed = list[str]()
        while (name := self.tab(selector, is_back)) or not self.page.evaluate(IS_ON, selector):
            passed.append(name)
            assert len(passed) < most, f"{selector} was not reached, but {passed}"


def test_the_keyboard_alone_tells_the_story(page: Page, tmp_path: Path) -> None:
    keys = Keys(page)
    keys.go_to("#present")
    keys.press("Enter")
    wait_until(page, "() => document.body.classList.contains('presenting')")
    keys.press("ArrowRight")
    wait_until_up_to_date(page, 0.91)
    keys.press("Shift+ArrowLeft")
    wait_until_up_to_date(page, 0.81)
    keys.press("Escape")
    wait_until(page, "() => !document.body.classList.contains('presenting')")

    keys.go_to("#alpha input[type=range]")
    keys.press("ArrowLeft", 5)
    wait_until_up_to_date(page, 0.76)
    keys.go_to("#alpha input[type=number]", is_back=True)
    keys.press("Control+a")
    page.keyboard.type("0.6")
    keys.tab()
    wait_until_up_to_date(page, 0.6)

    keys.go_to("#closer button")
    keys.press("Enter")
    keys.go_to("#closer [role=tab][aria-selected=true]")
    keys.press("ArrowRight")
    page.wait_for_selector("#pairs-run")
    assert page.evaluate("() => document.activeElement.innerText.trim()") == "Pairs"
    keys.go_to("#pairs-method input")
    keys.press("Control+a")
    page.keyboard.type("Simple mean")
    # Of this list, for one that was left is still fading away; Enter takes the marked one, once there is one.
    options = page.locator("#pairs-method [role=option]")
    page.locator("#pairs-method [role=option].active[aria-label='Simple mean']").wait_for()
    keys.press("Enter")
    options.first.wait_for(state="hidden")
    assert page.locator("#pairs-method input").input_value() == "Simple mean"
    keys.go_to("#pairs-run")
    keys.press("Space")
    wait_for_words(page, "#pairs-status", "Simple mean: 6 pairs")

    keys.go_to("#make-zip")
    keys.press("Enter")
    page.wait_for_selector("#download-zip", timeout=240_000)
    keys.go_to("#download-zip")
    with page.expect_download(timeout=60_000) as download:
        keys.press("Enter")
    download.value.save_as(tmp_path / download.value.suggested_filename)
    model = unpack(tmp_path / download.value.suggested_filename, tmp_path)
    assert json.loads((model / "recipe.json").read_text())["parameters"]["alpha"] == 0.6
    assert keys.unseen == set(), "where the focus was could not be seen"


def test_the_focus_goes_round_the_whole_page_and_is_seen_everywhere(page: Page) -> None:
    keys, passed = Keys(page), list[str]()
    while not passed or passed[-1]:  # empty behind the last of the page
        passed.append(keys.tab())
        assert len(passed) < 150, f"the focus never left the page: {passed}"
    assert len(passed) > 50 and keys.unseen == set(), "where the focus was could not be seen"
