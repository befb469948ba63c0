"""What the page remembers, in a real browser: over a reload, over a server that was killed, and for nobody else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from gradio_client import Client
from live_page import Server, wait_for_words, wait_until, wait_until_up_to_date
from playwright.sync_api import Browser, Page
from test_page import READ_REGMEAN, browser  # noqa: F401 - a fixture

from fusion_ui.projects.project import Project
from tests.server_process import MEASURED

LABELS = "() => [...document.querySelectorAll('.merge .title b')].map(b => b.textContent)"


@pytest.fixture(scope="module")
def server(demo: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("served"), MEASURED) as server:
        yield server


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Callable[[str], Page]]:  # noqa: F811
    """Opens the page as a person who was never there."""
    opened: list[Page] = []
    errors: list[str] = []

    def open_page(link: str = "") -> Page:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(server.address + link)
        opened.append(page)
        is_ready = "() => document.querySelector('#status')?.innerText.includes('Up to date')"
        wait_until(page, is_ready, timeout=300_000)
        return page

    yield open_page
    for page in opened:
        page.context.close()
    assert errors == []


def drag(page: Page, start: float, end: float) -> float:
    box = page.locator("#alpha input[type=range]").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + start * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    for i in range(3):  # on a busy machine each may be a step of its own
        page.mouse.move(box["x"] + (start + (end - start) * i / 2) * box["width"], box["y"] + box["height"] / 2)
    page.mouse.up()
    return read_alpha(page)


def read_alpha(page: Page) -> float:
    return float(page.locator("#alpha input[type=number]").input_value())


def step_until(page: Page, button: str, alpha: float) -> None:
    """One step, but on a machine that is so busy that the drag came in parts."""
    for _ in range(5):
        before = read_alpha(page)
        page.locator(button).click()
        wait_until(
            page, "before => Number(document.querySelector('#alpha input[type=number]').value) !== before", arg=before
        )
        if read_alpha(page) == alpha:
            break
    wait_until_up_to_date(page, alpha)


def wait_for_merge(page: Page, label: str) -> None:
    """Wait until a merge stands in the list and has settled: so long as it is shown it is listed in any case."""
    wait_until(page, f"label => ({LABELS})().includes(label)", arg=label, timeout=60_000)
    time.sleep(2.5)


def tick(page: Page, label: str) -> None:
    page.locator(".merge", has=page.get_by_text(label, exact=True)).locator("input").check()


def test_merges_outlive_the_page_and_the_server(visit: Callable[..., Page], server: Server) -> None:
    page = visit()
    wait_until_up_to_date(page, 0.9)
    wait_for_merge(page, "RegMean α=0.9")
    alpha = drag(page, 0.9, 0.2)
    assert 0.1 < alpha < 0.3
    wait_until_up_to_date(page, alpha)
    dragged = f"RegMean α={alpha:g}"
    wait_for_merge(page, dragged)
    labels = page.evaluate(LABELS)
    assert labels[0] == dragged and {"RegMean α=0.9", "Simple mean"} <= set(labels) and len(labels) == len(set(labels))

    page.reload()
    wait_until_up_to_date(page, alpha)
    assert read_alpha(page) == alpha and page.evaluate(LABELS) == labels
    step_until(page, "#undo", 0.9)  # a page that is loaded again still knows the way back
    step_until(page, "#redo", alpha)

    tick(page, "RegMean α=0.9")
    page.locator("#history-restore:enabled").click()
    wait_until_up_to_date(page, 0.9)
    assert read_alpha(page) == 0.9 and page.evaluate(READ_REGMEAN)["counts"] == [30] * 4
    tick(page, dragged)
    wait_until(page, "() => document.querySelector('#history-said').innerText.includes(' points ')")
    said = page.inner_text("#history-said")
    assert (
        f"RegMean α=0.9 against {dragged}: " in said
        and "120 sentences, report split, share of right answers, paired" in said
    )

    page.locator(".merge", has=page.get_by_text("RegMean α=0.9", exact=True)).locator("input").uncheck()
    page.locator("#history-name input, #history-name textarea").first.fill("<img src=x onerror=alert(1)>")
    page.locator("#history-rename:enabled").click()
    wait_until(page, f"() => ({LABELS})().includes('<img src=x onerror=alert(1)>')")
    assert page.locator("#history-list img").count() == 0, "a name was drawn as markup"
    page.locator("#history-pin:enabled").click()
    wait_until(
        page, "name => document.querySelector('#accuracy .live-plot').data.some(t => t.name === name)", arg=dragged
    )
    wait_until_up_to_date(page, 0.9)
    time.sleep(2.5)
    before = page.evaluate(LABELS)

    server.kill()
    server.start()
    page.reload()
    wait_until_up_to_date(page, 0.9)
    names = page.evaluate("() => document.querySelector('#accuracy .live-plot').data.map(t => t.name)")
    assert dragged in names, "a pin was lost"
    assert page.evaluate(LABELS) == before and "<img src=x onerror=alert(1)>" in before
    other = visit()
    wait_until_up_to_date(other, 0.9)
    wait_for_merge(other, "RegMean α=0.9")
    assert sorted(other.evaluate(LABELS)) == ["RegMean α=0.9", "Simple mean"], "one visitor saw another's history"


def test_a_link_opens_with_the_settings_and_a_bad_one_changes_nothing(visit: Callable[..., Page]) -> None:
    page = visit()
    wait_until_up_to_date(page, 0.9)
    page.get_by_label("Movie reviews", exact=True).first.uncheck()
    page.locator("#alpha input[type=number]").fill("0.35")
    page.locator("#alpha input[type=number]").press("Tab")
    wait_until_up_to_date(page, 0.35)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#copy-link").click()
    wait_for_words(page, "#said", "The link is copied")
    wait_until(page, "() => document.querySelector('#link input, #link textarea')?.value.includes('#settings=')")
    address = page.locator("#link input, #link textarea").first.input_value()
    assert page.evaluate("() => navigator.clipboard.readText()") == address
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    page.locator("#copy-link").click()
    wait_for_words(page, "#said", "did not let the page copy the link. Copy it from the box")
    link = "/" + address[address.index("#") :]

    other = visit(link)
    wait_until_up_to_date(other, 0.35)
    assert read_alpha(other) == 0.35 and not other.get_by_label("Movie reviews", exact=True).first.is_checked()
    assert "#" not in other.url, "loading the page again would undo what was changed since"
    for bad, words in (("/#settings=AAAA", "This link is damaged"), ("/#settings=" + "A" * 7000, "longer than")):
        stranger = visit(bad)
        wait_until_up_to_date(stranger, 0.9)
        assert words in stranger.inner_text("#said") and read_alpha(stranger) == 0.9


def test_keys_move_alpha_and_present_is_for_an_audience(visit: Callable[..., Page]) -> None:
    page = visit()
    wait_until_up_to_date(page, 0.9)
    height = "() => document.querySelector('#accuracy .live-plot')._fullLayout.font.size"
    small = page.evaluate(height)
    page.locator("#present").focus()
    page.keyboard.press("Enter")
    wait_until(page, "() => document.body.classList.contains('presenting')")
    assert not page.locator("#controls").is_visible() and page.locator("#alpha").is_visible()
    wait_until(page, f"small => ({height})() > 1.4 * small", arg=small)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowLeft")
    wait_until_up_to_date(page, 0.79)
    page.keyboard.press("Escape")
    wait_until(page, f"small => ({height})() === small", arg=small)
    assert page.locator("#controls").is_visible()
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    wait_until_up_to_date(page, 0.8)
    page.locator("#history-name input, #history-name textarea").first.fill("name")
    page.keyboard.press("ArrowLeft")
    assert read_alpha(page) == 0.8, "a key that was meant for a text box moved alpha"


def test_undo_by_a_key_wherever_nothing_is_typed(visit: Callable[..., Page]) -> None:
    page = visit()
    wait_until_up_to_date(page, 0.9)
    alpha = drag(page, 0.9, 0.5)
    wait_until_up_to_date(page, alpha)
    focused = "() => document.activeElement.type"
    assert page.evaluate(focused) == "range"
    page.keyboard.press("Control+z")  # the focus is where the hand left it
    wait_until(page, "alpha => Number(document.querySelector('#alpha input[type=number]').value) !== alpha", arg=alpha)

    box = page.get_by_label("Movie reviews", exact=True).first
    box.uncheck()
    assert page.evaluate(focused) == "checkbox"
    page.wait_for_timeout(1500)  # what follows at once is of the same step
    page.keyboard.press("Control+z")
    wait_until(page, "() => document.querySelector('.expert input[type=checkbox]:not(:checked)') === null")

    tokens, field = page.locator("#methods .token"), page.locator("#methods input[role=combobox]")
    before = tokens.count()
    field.click()
    page.get_by_role("option", name="TIES", exact=True).click()
    assert tokens.count() == before + 1 and page.evaluate(focused) == "text"
    page.wait_for_timeout(1500)
    page.keyboard.press("Control+z")
    wait_until(page, "before => document.querySelectorAll('#methods .token').length === before", arg=before)

    stands = read_alpha(page)
    for words in (field, page.locator("#history-name input, #history-name textarea").first):
        words.click()
        page.keyboard.type("sim")
        page.keyboard.press("Control+z")
        page.wait_for_timeout(500)
        assert words.input_value() != "sim", "the field did not undo what was typed"
        assert read_alpha(page) == stands and tokens.count() == before, "a key that was meant for a field undid a step"


def test_nobody_is_shown_a_history_by_asking_for_it(visit: Callable[..., Page], server: Server) -> None:
    page = visit()
    wait_until_up_to_date(page, 0.9)
    wait_for_merge(page, "RegMean α=0.9")
    visitor = page.evaluate("() => localStorage.getItem('fusion-ui-visitor')")
    assert len(visitor) == 32
    for guess in ("", "*", "../history", visitor[:-1], visitor.upper() + " ", "0" * 32):
        *_, listed = Client(server.address, verbose=False).predict(guess, "", None, api_name="/arrive")
        assert "RegMean" not in str(listed)
    *_, listed = Client(server.address, verbose=False).predict(visitor, "", None, api_name="/arrive")
    assert "RegMean" in str(listed), "this test would not have seen one"
