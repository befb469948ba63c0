"""The tasks beside plain classification in a real browser: what the page shows is what scripts of their own say."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_page import Server, open_browser, wait_until
from tasks_project import HEADS, SIZES, WRITTEN
from test_sequence_to_sequence import WORDS, make_rows, write_plainly
from trained_tasks import TRAINED, score_by_script

from fusion_ui.tasks import metric_scale


def score_alone(folder: Path, name: str) -> float:
    """The expert's own score, rounded as on the page."""
    if folder.parent.name == WRITTEN:
        texts, labels = make_rows(name, SIZES["report"], 12)
        said = write_plainly(folder / f"{name}-model", texts)
        return metric_scale("exact_match").round(sum(a == b for a, b in zip(said, labels, strict=True)) / len(labels))
    task = TRAINED[name]
    return metric_scale(task.metric).round(score_by_script(task, folder / f"{name}-model", "books"))


@pytest.mark.parametrize("kind", ["heads", WRITTEN])
def test_every_task_is_scored_on_the_page(kind: str, tmp_path: Path):
    folder = tmp_path / kind
    folder.mkdir()
    with Server(folder, (), module="tests.tasks_project") as server, open_browser() as browser:
        page, errors = browser.new_page(viewport={"width": 1440, "height": 900}), list[str]()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(server.address)
        is_ready = "() => document.querySelector('#status')?.innerText.includes('Up to date')"
        wait_until(page, is_ready, timeout=120_000)
        names = WORDS if kind == WRITTEN else HEADS
        wait_until(page, "() => document.querySelector('#numbers').innerText.includes('Expert')")
        table = page.inner_text("#numbers")
        for i, name in enumerate(names):
            own = table.split(f"Expert {name}", 1)[1].split("Expert ", 1)[0].split()
            column = i if kind == WRITTEN else 0  # an expert with a head of its own answers one domain alone
            assert float(own[column]) == score_alone(folder / "data", name), (name, table)
        assert "RegMean" in table
        num_bars = page.evaluate("() => document.querySelector('.js-plotly-plot').data.flatMap(t => [...t.y]).length")
        assert num_bars >= 2 * len([*names])
        assert errors == []
