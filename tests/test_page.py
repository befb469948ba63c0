"""The page in a real browser against a real server: what a person does, and what they then see."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from hub_server import HubServer
from live_page import Server, open_browser, wait_until, wait_until_up_to_date
from playwright.sync_api import Browser, Page, TimeoutError
from small_demo import shrink
from test_presets import fill
from tiny_models import random_texts, tiny_bert, write_model

from fusion_ui.merging.recipe import MergeRecipe
from fusion_ui.methods import METHODS
from fusion_ui.parameters import default_values
from fusion_ui.projects.building import MAX_EXPERTS
from fusion_ui.projects.presets import find_preset
from fusion_ui.projects.project import Project
from fusion_ui.ui.comparison import project_evaluation
from fusion_ui.ui.request import default_request
from fusion_ui.workspace import Workspace

# Every 20 ms: which RegMean is drawn, whether it is dimmed as out of date, and its values.
WATCH_REGMEAN = """() => {
  window.seen = [];
  setInterval(() => {
    const plot = document.querySelector('#accuracy .live-plot');
    const trace = plot && plot.data && plot.data.find(t => (t.name || '').startsWith('RegMean'));
    if (!trace) return;
    const isStale = /0\\.3\\)$/.test(trace.marker.color.replaceAll(' ', ''));
    const entry = JSON.stringify([trace.name, isStale]);
    if (window.seen.at(-1) !== entry) window.seen.push(entry);
  }, 20);
}"""
READ_REGMEAN = """() => {
  const trace = document.querySelector('#accuracy .live-plot').data.find(t => (t.name || '').startsWith('RegMean'));
  const counts = trace.customdata.map(row => Number(row[1].match(/of (\\d+) right/)[1]));
  return {name: trace.name, values: trace.y, counts};
}"""


@pytest.fixture(scope="module")
def small(workspace: Workspace, demo: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return shrink(demo, tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def address(demo: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    hub = HubServer()
    hub.__enter__()
    fill(hub, find_preset("distilbert-sentiment"), folder / "tiny")
    try:  # without results, so that every number is computed
        with Server(folder, environment=hub.environment(folder / "home")) as server:
            yield server.address
    finally:
        hub.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    opened.requests_seen, opened.errors_seen = [], []  # type: ignore[attr-defined]
    opened.on("request", lambda request: opened.requests_seen.append(request.url))  # type: ignore[attr-defined]
    opened.on("pageerror", lambda error: opened.errors_seen.append(str(error)))  # type: ignore[attr-defined]
    opened.goto(address)
    wait_until_up_to_date(opened)
    opened.evaluate(WATCH_REGMEAN)
    yield opened
    assert opened.errors_seen == []  # type: ignore[attr-defined]
    leaving = [url for url in opened.requests_seen if not re.match(r"(http://127\.0\.0\.1:|data:|blob:)", url)]  # type: ignore[attr-defined]
    assert leaving == []
    opened.close()


def expected_values(workspace: Workspace, project: Project, alpha: float) -> list[float]:
    """Accuracy of RegMean at `alpha` on every domain, computed without the page."""
    recipe: MergeRecipe = default_request(project).recipe(project, "regmean").with_parameters(alpha=alpha)
    plan = workspace.plan(recipe)
    evaluation = project_evaluation(workspace, project, "report")
    *_, last = workspace.evaluate([workspace.candidate(plan)], evaluation, [])
    return [score.value for score in last.scores]


def check_final(page: Page, workspace: Workspace, project: Project, alpha: float) -> None:
    """The page ends on `alpha`'s numbers, and nothing drawn as current after them belongs to another alpha."""
    wait_until_up_to_date(page, alpha)
    time.sleep(1.0)  # whatever is late has now arrived
    drawn = page.evaluate(READ_REGMEAN)
    assert drawn["name"] == f"RegMean α={alpha:g}"
    assert drawn["values"] == pytest.approx(expected_values(workspace, project, alpha))
    assert drawn["counts"] == [30] * 4
    seen = [tuple(json.loads(entry)) for entry in page.evaluate("() => window.seen")]
    final = (f"RegMean α={alpha:g}", False)
    after = seen[seen.index(final) :]
    assert all(entry == final for entry in after), seen
    assert f"RegMean α={alpha:g}" in page.inner_text("#numbers")
    page.evaluate("() => { window.seen.length = 0; }")


def test_first_visit_shows_methods_references_and_the_curve(page: Page) -> None:
    names = page.evaluate("() => document.querySelector('#accuracy .live-plot').data.map(t => t.name)")
    assert {"own expert", "Multi-task model", "Ensemble", "RegMean α=0.9", "Simple mean"} <= set(names)
    numbers = page.inner_text("#numbers")
    assert all(title in numbers for title in ("Expert tweets", "Expert news", "Multi-task model", "Ensemble"))
    wait_until(page, "() => document.querySelector('#best').innerText.includes('Best on select')", timeout=180_000)
    points = page.evaluate("() => document.querySelector('#curve .live-plot').data.find(t => t.name === 'mean').x")
    assert points == sorted(points) and {0, 0.5, 0.9, 1} <= set(points)


def test_dragging_ends_on_the_last_alpha(page: Page, workspace: Workspace, small: Project) -> None:
    slider = page.locator("#alpha input[type=range]")
    box = slider.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    for i in range(40):
        page.mouse.move(box["x"] + (0.9 - 0.02 * i) * box["width"], box["y"] + box["height"] / 2)
        time.sleep(0.03)
    page.mouse.up()
    alpha = float(slider.input_value())
    assert 0.05 < alpha < 0.25
    check_final(page, workspace, small, alpha)


def test_arrow_keys_end_on_the_last_alpha(page: Page, workspace: Workspace, small: Project) -> None:
    page.locator("#alpha input[type=range]").focus()
    for _ in range(7):
        page.keyboard.press("ArrowLeft")
        time.sleep(0.05)
    check_final(page, workspace, small, 0.83)


def test_typing_and_resetting_end_on_the_last_alpha(page: Page, workspace: Workspace, small: Project) -> None:
    number = page.locator("#alpha input[type=number]")
    number.fill("0.37")
    number.press("Tab")
    check_final(page, workspace, small, 0.37)
    page.locator("#alpha button[aria-label*='eset'], #alpha button.reset-button").first.click()
    check_final(page, workspace, small, 0.9)


def test_leaving_an_expert_out_makes_its_domain_out_of_domain(page: Page) -> None:
    page.get_by_label("Movie reviews", exact=True).first.uncheck()
    wait_until(
        page,
        """() => document.querySelector('#accuracy').textContent.includes('out of domain')
             && document.querySelector('#status').innerText.includes('Up to date')""",
        timeout=120_000,
    )
    for title in ("Tweets", "Product reviews", "News editorials"):
        page.get_by_label(title, exact=True).first.uncheck()
    page.get_by_text("No expert is ticked. Tick at least one under Models.").first.wait_for(timeout=20_000)


def test_stopping_frees_the_processor_and_says_so(page: Page) -> None:
    page.locator("#alpha input[type=number]").fill("0.11")
    page.locator("#alpha input[type=number]").press("Tab")
    page.locator("#stop").click()
    wait_until(page, "() => document.querySelector('#status').innerText.includes('Stopped')", timeout=15_000)
    page.locator("#alpha input[type=number]").fill("0.12")
    page.locator("#alpha input[type=number]").press("Tab")
    wait_until_up_to_date(page, 0.12)


def test_two_visitors_do_not_see_each_other(page: Page, browser: Browser, address: str) -> None:
    other = browser.new_page()
    other.goto(address)
    wait_until_up_to_date(other, 0.9)
    page.locator("#alpha input[type=number]").fill("0.2")
    page.locator("#alpha input[type=number]").press("Tab")
    wait_until_up_to_date(page, 0.2)
    assert other.evaluate(READ_REGMEAN)["name"] == "RegMean α=0.9"
    other.close()


def test_a_pinned_setting_stands_beside_the_slider(page: Page) -> None:
    page.locator("#pin").click()
    wait_until(page, "() => document.querySelector('#pins')?.innerText.includes('RegMean α=0.9')")
    page.locator("#alpha input[type=number]").fill("0.4")
    page.locator("#alpha input[type=number]").press("Tab")
    wait_until_up_to_date(page, 0.4)
    wait_until(
        page,
        """() => {
          const names = document.querySelector('#accuracy .live-plot').data.map(t => t.name);
          return names.includes('RegMean α=0.9') && names.includes('RegMean α=0.4');
        }""",
        timeout=120_000,
    )


def test_a_knob_explains_itself_to_the_keyboard(page: Page) -> None:
    assert page.locator("#alpha input").first.get_attribute("aria-describedby") == "alpha-explained"
    tip = page.locator("#alpha-explained")
    assert not tip.is_visible()
    page.get_by_role("button", name="What is Non-diagonal scaling α?").focus()
    assert tip.is_visible() and "RegMean" in tip.inner_text() and "diag(G_i)" in tip.inner_text()
    assert tip.locator("a").get_attribute("href") == "https://openreview.net/forum?id=FCnohuR6AnM"
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.get_by_role("button", name="What is each of these methods?").hover()
    assert "Simple mean" in page.locator("#methods-explained").inner_text()


def choose(page: Page, control: str, option: str) -> None:
    page.locator(f"{control} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def test_the_curve_goes_over_another_parameter_and_its_best_value_is_found(page: Page) -> None:
    choose(page, "#methods", "Task arithmetic")
    page.keyboard.press("Escape")
    has_method = """start => {
      const names = document.querySelector('#accuracy .live-plot').data.map(t => t.name);
      const isDone = document.querySelector('#status').innerText.includes('Up to date');
      return isDone && names.some(name => name.startsWith(start));
    }"""
    wait_until(page, has_method, arg="Task arithmetic", timeout=120_000)
    choose(page, "#curve-parameter", "Task arithmetic λ")
    wait_until(page, "() => document.querySelector('#curve .live-plot').layout.xaxis.title.text === 'λ'")
    page.locator("#find-best").click()
    wait_until(page, "() => document.querySelector('#found-best').innerText.includes('on select;')", timeout=300_000)
    best = re.search(r"λ = ([\d.]+) on select", page.inner_text("#found-best"))
    assert best is not None
    wait_until(page, has_method, arg=f"Task arithmetic λ={best[1]}", timeout=120_000)
    # Its control was never opened, and keeps the value when another one moves.
    page.locator("#alpha input[type=number]").fill("0.6")
    page.locator("#alpha input[type=number]").press("Tab")
    wait_until_up_to_date(page, 0.6)
    wait_until(page, has_method, arg=f"Task arithmetic λ={best[1]}", timeout=120_000)


def test_looking_closer_shows_pairs_of_experts_and_how_regmean_works(page: Page) -> None:
    page.locator("#closer button").first.click()
    page.locator("#examine").click()
    wait_until(
        page, "() => document.querySelector('#about-pairs')?.innerText.includes('from the base')", timeout=300_000
    )
    pairs = page.evaluate("() => document.querySelector('#pairs-of-experts .live-plot').data[0]")
    assert pairs["x"][0] == "tweets · products" and len(pairs["x"]) == 6 and pairs["y"][-1] == "whole model"
    page.get_by_role("tab", name="How it works").click()
    assert page.get_by_role("tab", name="How it works").count() == 1, "the tab was drawn twice"
    page.locator("#how-draw").click()
    drawn = "name => (document.querySelector('#how .live-plot')?.data || []).some(t => t.name === name)"
    wait_until(page, drawn, arg="RegMean α=0.9", timeout=120_000)
    page.locator("#alpha input[type=number]").fill("0.3")
    page.locator("#alpha input[type=number]").press("Tab")
    wait_until(page, drawn, arg="RegMean α=0.3", timeout=30_000)
    assert "RegMean α=0.3" in page.inner_text("#how-numbers")


def test_the_table_downloads_as_csv(page: Page) -> None:
    with page.expect_download() as download:
        page.locator("#download").click()
    text = Path(download.value.path()).read_text()
    assert text.splitlines()[0].startswith("Model,Tweets,Product reviews")
    assert "RegMean α=0.9" in text


def test_flips_and_answers_of_the_demo(page: Page) -> None:
    page.locator("#closer button").first.click()
    page.get_by_role("tab", name="Flips").click()
    page.locator("#find-flips").click()
    wait_until(
        page,
        "() => document.querySelector('#flips-status').innerText.includes('RegMean α=0.9 against own expert')",
        timeout=60_000,
    )
    shown = page.locator("#flips tr").count() - 1
    assert 0 < shown <= 50 and f"{shown} of " in page.inner_text("#flips-shown")
    page.get_by_role("tab", name="Try it").click()
    field = page.locator("#try-text textarea, #try-text input").first
    field.fill("A lovely film, I laughed all evening.")
    field.press("Enter")
    wait_until(
        page, "() => document.querySelector('#try-status').innerText.includes('1 sentence, 8 models')", timeout=60_000
    )
    chosen = page.evaluate("() => [...document.querySelectorAll('#answers .chosen')].map(cell => cell.cellIndex)")
    assert chosen == [2] * 8, "every model calls this positive"


def wait_for_message(page: Page, words: str) -> None:
    is_there = "words => document.querySelector('#own-message').innerText.includes(words)"
    try:
        wait_until(page, is_there, arg=words, timeout=300_000)
    except TimeoutError:
        pytest.fail(f"{words!r} was not said, but {page.inner_text('#own-message')!r}; {page.inner_text('#status')!r}")


def upload_model(page: Page, directory: Path, name: str) -> None:
    files = [path for path in sorted(directory.iterdir()) if path.name != "README.md"]
    page.locator("#own-model-files input[type=file]").set_input_files(files)
    page.locator("#own-model-files").get_by_text(files[-1].stem[:5]).first.wait_for()
    page.locator("#own-name input, #own-name textarea").first.fill(name)
    page.locator("#own-add-model").click()


def add_data(page: Page, path: Path, name: str) -> None:
    page.get_by_role("tab", name="Data").click()
    page.locator("#own-data input[type=file]").set_input_files(path)
    wait_for_message(page, "rows.")
    page.locator("#own-domain-name input, #own-domain-name textarea").first.fill(name)
    page.locator("#own-add-data").click()
    wait_for_message(page, f"Added {name}")
    page.locator("#own-data button[aria-label*='lear'], #own-data button[aria-label*='emove']").first.click()


def choose_project(page: Page, title: str) -> None:
    page.locator("#project input").click()
    page.get_by_role("option", name=title).click()


def rename_label(page: Page, row: int, name: str) -> None:
    page.locator(f'#own-label-table [data-row="{row}"][data-col="2"]').first.dblclick()
    page.keyboard.press("Control+a")
    page.keyboard.type(name)
    page.keyboard.press("Enter")


def test_a_preset_is_weighed_opened_and_its_labels_renamed(page: Page) -> None:
    choose_project(page, "Two sentiment models of one DistilBERT")
    wait_until(page, "() => document.querySelector('#preset-needs')?.innerText.includes('to download')", timeout=60_000)
    assert "Expert tweets" in page.inner_text("#numbers"), "a preset was opened before anybody had read its cost"
    page.locator("#open-preset").click()
    wait_until(page, "() => document.querySelector('#numbers').innerText.includes('Expert imdb')", timeout=120_000)
    page.locator("#own button").first.click()
    page.locator("#own-labels button").first.click()
    wait_for_message(page, "opened as your own project")
    assert "negative, positive" in page.inner_text("#own-aligned")
    rename_label(page, 0, "<i>bad</i>")
    wait_until(page, "() => document.querySelector('#own-aligned').innerText.includes('<i>bad</i>')")
    assert "cannot share one head" in page.inner_text("#own-aligned")
    assert page.locator("#own-label-table i, #own-aligned i").count() == 0, "a label was drawn as markup"
    rename_label(page, 0, "positive")
    wait_for_message(page, "Two labels of imdb would be called 'positive'")
    rename_label(page, 2, "<i>bad</i>")
    wait_until(page, "() => document.querySelector('#own-aligned').innerText.includes('One head answers with 2')")


def test_a_person_merges_models_and_data_of_their_own(page: Page, demo: Project, tmp_path: Path) -> None:
    page.locator("#own button").first.click()
    upload_model(page, demo.experts[0].model, "<b>mine</b>")
    about = "BertForSequenceClassification, text classification, 90.9 MB, labels negative, positive"
    wait_for_message(page, f"Added <b>mine</b>: {about}")
    page.locator(
        "#own-model-files button[aria-label*='lear'], #own-model-files button[aria-label*='emove']"
    ).first.click()
    page.locator("#own-name input, #own-name textarea").first.fill("")
    page.locator("#own-model input, #own-model textarea").first.fill(str(demo.experts[2].model))
    page.locator("#own-add-model").click()
    wait_for_message(page, "Added movies")
    for expert, name in ((demo.experts[0], "<b>mine</b>"), (demo.experts[2], "movies")):
        source = next(domain for domain in demo.domains if domain.name == expert.domain)
        small = tmp_path / f"{expert.name}.csv"
        small.write_text("\n".join(source.calibrate.read_text().splitlines()[:49]) + "\n")
        add_data(page, small, name)
    wait_until_up_to_date(page, 0.9)
    numbers = page.inner_text("#numbers")
    assert "Expert movies" in numbers and "Multi-task" not in numbers and "Expert news" not in numbers
    assert page.locator("#own-contents b, #accuracy .live-plot b").count() == 0, "a name was drawn as markup"
    assert "<b>mine</b>" in page.inner_text("#own-contents")
    # A broken file changes nothing and says why.
    page.get_by_role("tab", name="Models").click()
    broken = tmp_path / "weights.bin"
    broken.write_bytes(b"not a model")
    page.locator("#own-model-files input[type=file]").set_input_files([broken])
    page.locator("#own-model-files").get_by_text("weigh").first.wait_for()
    page.locator("#own-add-model").click()
    page.wait_for_selector("#own-message .status.error", timeout=60_000)
    assert "movies" in page.inner_text("#own-contents")
    choose_project(page, "Sentiment in four domains")
    wait_until(page, "() => document.querySelector('#numbers').innerText.includes('Expert news')", timeout=60_000)


def test_a_threshold_is_asked_for_where_a_model_gives_several_labels(page: Page, tmp_path: Path) -> None:
    model: Any = tiny_bert(0, labels=("anger", "joy", "fear"))
    labels = ("anger", "joy, fear", "fear")
    model.config.problem_type = "multi_label_classification"
    directory, data = write_model(tmp_path / "several", model), tmp_path / "several.csv"
    rows = [f'{text},"{labels[i % 3]}"' for i, text in enumerate(random_texts(60, 3))]
    data.write_text("\n".join(["text,label", *rows]) + "\n")
    page.locator("#own button").first.click()
    page.get_by_role("tab", name="Data").click()
    assert page.locator("#own-threshold").count() == 0, "no model here gives several labels"
    page.get_by_role("tab", name="Models").click()
    page.locator("#own-model input, #own-model textarea").first.fill(str(directory))
    page.locator("#own-add-model").click()
    wait_for_message(page, "Added several")
    page.get_by_role("tab", name="Data").click()
    page.locator("#own-threshold input").fill("1.5")
    page.locator("#own-data input[type=file]").set_input_files(data)
    wait_for_message(page, "rows.")
    page.locator("#own-domain-name input, #own-domain-name textarea").first.fill("several")
    page.locator("#own-add-data").click()
    wait_for_message(page, "The threshold must lie between 0 and 1. Got 1.5 instead.")
    page.locator("#own-threshold input").fill("0.7")
    page.locator("#own-add-data").click()
    wait_for_message(page, "Added several: 60 sentences")


@pytest.mark.parametrize(("width", "theme"), [(1440, "dark"), (390, "light")])
def test_nothing_is_wider_than_the_window(browser: Browser, address: str, width: int, theme: str) -> None:
    opened = browser.new_page(viewport={"width": width, "height": 844})
    opened.goto(f"{address}/?__theme={theme}")
    wait_until_up_to_date(opened)
    assert opened.evaluate("() => document.documentElement.scrollWidth") <= width
    opened.close()


def table_of(*rows: list[str]) -> dict[str, object]:
    """The table of exceptions as the browser sends it."""
    return {"headers": ["Parameters", "Merge", "α"], "data": list(rows), "metadata": None}


def post_values(change: dict[str, object]) -> list[object]:
    """What the page would post at first, in its order, with some controls set to something else."""
    domains = ["tweets", "products", "movies", "news"]
    controls: dict[str, object] = {f"included {i}": i < 4 for i in range(MAX_EXPERTS)}
    controls |= {f"calibration {i}": domains[i] if i < 4 else None for i in range(MAX_EXPERTS)}
    controls |= {f"weight {i}": 1.0 for i in range(MAX_EXPERTS)}
    controls |= {"sentences": 64, "methods": ["regmean"], "pins": [], "references": [], "from zero": False}
    controls |= {"metric": ""}
    controls |= {"rules": table_of(["", "", ""]), "is scaled": False, "shallow": 0.5, "deep": 1.0}
    parameters = {f"{m.name} {n}": default for m in METHODS for n, default in default_values(m).items()}
    controls |= {"regmean alpha": 0.9} | parameters | {"sent": None}
    assert change.keys() <= controls.keys()
    return list((controls | change).values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"regmean alpha": 2}, r"The 'alpha' parameter of RegMean must be a number in \[0, 1\]\. Got 2 instead\."),
        ({"regmean alpha": "abc"}, r"must be a number in \[0, 1\]\. Got .*abc.* instead\."),
        ({"methods": ["magic"]}, "magic"),
        ({"sentences": 10**9}, "number of sentences must be a whole number from 1 to 400"),
        ({"calibration 0": "/etc/passwd"}, "passwd"),
        ({"weight 0": -1}, "experts.0.weight"),
        ({"metric": "magic"}, "There is no metric 'magic'"),
        ({"pins": ["{}"]}, "is no setting of a method"),
        ({"rules": table_of(["ffn", "nobody", ""])}, "'nobody'"),
        ({"rules": table_of(["ffn", "", "much"])}, "must be a number. Got 'much'"),
        ({"rules": table_of(*[["ffn", "mean", ""]] * 65)}, "rules"),
        ({"is scaled": True, "shallow": "deep"}, "'shallow'"),
        ({"pins": ['{"method": "regmean", "parameters": {"alpha": 7}}']}, r"must be a number in \[0, 1\]"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_api_refuses_what_the_page_cannot_send(address: str, change: dict[str, object], words: str) -> None:
    client = Client(address, verbose=False)
    values = post_values(change)
    with pytest.raises(AppError, match=words):  # refused at once, or when the job would start
        client.predict(*values, api_name="/post")
        client.predict(api_name="/run")
