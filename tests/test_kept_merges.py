"""Merges that the page shows stay in memory while many others pass, so that typed sentences are answered at once."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_project import write_project

from fusion_ui.settings import Settings
from fusion_ui.ui.comparison import compare
from fusion_ui.ui.experiments import Experimenting
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.try_it import Trying
from fusion_ui.workspace import Workspace


@pytest.fixture
def handlers(settings: Settings, tmp_path: Path) -> Handlers:
    made = Handlers(Workspace(settings), write_project(tmp_path / "project"))
    session = made.sessions.get("v")
    session.post(replace(session.request, methods=("regmean", "simple_mean")))
    [*made.run("v")]
    return made


def kept(handlers: Handlers) -> list[bool]:
    """Of the two merges of the page, whether each is in memory."""
    session = handlers.sessions.get("v")
    plans = [session.request.recipe(session.project, name) for name in session.request.methods]
    return [handlers.workspace.merge_seconds(handlers.workspace.plan(plan)) is not None for plan in plans]


def test_the_curve_pairs_and_growth_push_no_merge_of_the_page_out(handlers: Handlers):
    assert kept(handlers) == [True, True]
    [*handlers.fill_curve("v")]
    assert len(handlers.sessions.get("v").curve) >= 21 and kept(handlers) == [True, True]
    experimenting = Experimenting(handlers)
    for steps in (
        experimenting.run_pairs("v", "simple_mean", "better", "own"),
        experimenting.run_growth("v", "simple_mean", ["d0", "d1", "d2"], False),
    ):
        list(steps)
        assert kept(handlers) == [True, True]


def test_what_was_scored_in_an_earlier_life_is_merged_when_somebody_begins_to_type(handlers: Handlers):
    again = Handlers(Workspace(handlers.workspace.settings), handlers.project)
    session = again.sessions.get("v")
    session.post(handlers.sessions.get("v").request)
    [*again.run("v")]
    evaluation = again.evaluation(session.project, "report")
    assert all(
        c.is_known(evaluation)
        for c in compare(again.workspace, session.project, session.request, evaluation).candidates
    )
    assert kept(again) == [False, False], "nothing had to be merged for the numbers"
    Trying(again).make_ready("v")
    assert kept(again) == [True, True]
    session.stop()
    Trying(again).make_ready("v")  # after Stop nothing is begun


def test_what_is_merged_ahead_waits_in_line_too(handlers: Handlers):
    again = Handlers(Workspace(handlers.workspace.settings), handlers.project)
    session = again.sessions.get("v")
    session.post(handlers.sessions.get("v").request)
    [*again.run("v")]
    with ExitStack() as others:
        for number in range(again.workspace.settings.max_jobs):
            place = others.enter_context(again.line.join(f"other {number}"))
            assert list(place.wait()) == []
        ahead = threading.Thread(target=Trying(again).make_ready, args=("v",))
        ahead.start()
        ahead.join(1.0)
        assert ahead.is_alive() and kept(again) == [False, False]
    ahead.join(60)
    assert kept(again) == [True, True]
