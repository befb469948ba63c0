"""The report of a run: one HTML file that needs nothing else, in which texts from people are text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from live_page import open_browser
from test_cli import refuse, succeed
from test_export import make_recipe
from tiny_models import LABELS, random_texts, write_data, write_experts

from fusion_ui.domains.domain import Domain
from fusion_ui.merging.recipe import read_recipe
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.takeaway.reporting import draw_accuracy, evaluate_for_report, write_report
from fusion_ui.workspace import Workspace

HOSTILE = "<script>document.title='run'</script><img src=x onerror=document.title='run'> ${1+1} {{7*7}} '\"&"


class Tags(HTMLParser):
    """Which tags there are, and all text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] not in (["script"], ["style"]):
            self.text += data


def domain_of(name: str, num_texts: int = 9) -> Domain:
    return Domain(name, name, "report", random_texts(num_texts), tuple(LABELS[i % 2] for i in range(num_texts)))


def test_hostile_names_are_text_in_a_browser_and_numbers_are_those_of_the_evaluation(
    tmp_path: Path, settings: Settings
):
    workspace = Workspace(settings)
    recipe = make_recipe(write_experts(tmp_path / "models"), tmp_path, "simple_mean")
    entries = tuple(e.model_copy(update={"name": f"{HOSTILE[:70]} {i}"}) for i, e in enumerate(recipe.experts))
    plan = workspace.plan(recipe.model_copy(update={"experts": entries}))
    domains = [domain_of(f"{HOSTILE} 0"), domain_of("b")]
    rows = evaluate_for_report(workspace, plan, domains, Progress())
    titles = {domain.name: domain.title for domain in domains}
    text = write_report(HOSTILE, plan, "simple_mean", rows, titles, [draw_accuracy(rows, titles)])
    found = Tags(text)
    assert found.tags.count("script") == 2 and "img" not in found.tags
    assert found.text.count(HOSTILE) >= 3 and "49" not in re.findall(r"\{\{.*?\}\}|\b49\b", found.text)
    assert str(tmp_path) not in text.partition("</style>")[2].partition("<body>")[2]
    (score,) = [s for s in rows[0].scores if s.domain == "b"]
    assert f"{100 * score.value:.1f}" in found.text and f"[{100 * score.low:.1f}, {100 * score.high:.1f}]" in found.text
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    with open_browser() as browser:
        page, asked, errors = browser.new_page(), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "report.html").as_uri())
        page.wait_for_selector("#figure-1 .main-svg")
        assert page.title().startswith(HOSTILE[:30]) and errors == []
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        assert page.locator("#figure-1 img, #figure-1 script").count() == 0
        assert "<script>" in (page.locator("#figure-1").text_content() or "")


def test_a_report_without_numbers_says_so(tmp_path: Path, settings: Settings):
    workspace = Workspace(settings)
    plan = workspace.plan(make_recipe(write_experts(tmp_path / "models"), tmp_path))
    found = Tags(write_report("T", replace(plan), "regmean", [], {}, []))
    assert "Nothing was evaluated." in found.text and type(plan.method).formula in found.text
    assert "256" not in found.text and "at most 6 sentences" in found.text


def test_the_command_line_writes_a_report(tmp_path: Path):
    models = write_experts(tmp_path / "models")
    recipe, data, out = tmp_path / "r.json", write_data(tmp_path / "d.csv"), tmp_path / "report.html"
    experts = [{"name": model.name, "model": str(model)} for model in models]
    recipe.write_text(json.dumps({"method": "simple_mean", "experts": experts}))
    succeed("report", recipe, f"--data=d={data}", "--out", out, "--title", "A & B")
    found = Tags(out.read_text())
    assert "A & B" in found.text and "models/expert0" in found.text and "Expert expert1" in found.text
    assert "exists already" in refuse("report", recipe, f"--data=d={data}", "--out", out)
    assert read_recipe(recipe).method == "simple_mean"


@pytest.mark.parametrize("text", ["plain", HOSTILE])
def test_figures_escape_what_plotly_would_read(text: str):
    from fusion_ui.plots.style import escape_text

    assert "<" not in escape_text(text) and Tags(f"<p>{escape_text(text)}").text == text


def test_a_report_says_so_where_models_read_different_numbers_of_sentences(tmp_path: Path, settings: Settings):
    workspace = Workspace(settings)
    plan = workspace.plan(make_recipe(write_experts(tmp_path / "models"), tmp_path, "simple_mean"))
    rows = evaluate_for_report(workspace, plan, [domain_of("a")], Progress())
    (score,) = rows[0].scores
    rows[0] = replace(rows[0], scores=(replace(score, num_examples=4),))
    assert "sentences: A 4 to 9." in write_report("T", plan, "simple_mean", rows, {"a": "A"}, [])
