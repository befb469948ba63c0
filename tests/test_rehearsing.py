"""What strangers bring is computed with in a child process first, which may die without harm to the server."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_project import write_project
from watched_children import children, soon

from fusion_ui.errors import MergeError, StoppedError
from fusion_ui.progress import Progress
from fusion_ui.projects.building import blank_project
from fusion_ui.projects.project import Project
from fusion_ui.settings import Settings
from fusion_ui.ui import rehearsing
from fusion_ui.ui.comparison import compare
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.layers import Examining
from fusion_ui.ui.request import default_request
from fusion_ui.ui.try_it import Trying
from fusion_ui.workspace import Workspace


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return write_project(tmp_path_factory.mktemp("made"), 2)


@pytest.fixture
def handlers(tmp_path: Path) -> Handlers:
    settings = Settings(cache_dir=tmp_path, host="0.0.0.0", num_threads=1)
    return Handlers(Workspace(settings), blank_project())


def test_numbers_of_a_strangers_models_come_from_a_child_and_are_the_same(
    handlers: Handlers, project: Project, tmp_path: Path
):
    session, request = handlers.sessions.get("me"), default_request(project)
    session.show(project, request)
    with pytest.raises(Exception, match="Wait until the page shows"):
        list(Examining(handlers).examine("me", "regmean", "", ""))
    Trying(handlers).make_ready("me")
    assert handlers.workspace.merge_seconds(handlers.workspace.plan(request.recipe(project, "simple_mean"))) is None
    seen: list[int] = []
    for _ in handlers.run("me"):
        seen.append(len(children()))
    assert max(seen) == 1 and seen[-1] == 0
    assert {row.candidate.title for row in session.shown.values()} >= {"RegMean α=0.9", "Simple mean"}
    plain = Workspace(Settings(cache_dir=tmp_path / "other", num_threads=1))
    evaluation = Handlers(plain, project).evaluation(project, "report")
    alone = compare(plain, project, request, evaluation)
    rows = {row.candidate.name: row for row in plain.evaluate(alone.candidates, evaluation, alone.in_domain)}
    for name, row in session.shown.items():
        assert [score.value for score in row.scores] == [score.value for score in rows[name].scores]
    # From then on another value is computed here, at once.
    session.step(True)
    assert not handlers.rehearsals.is_due(project, session.request)


def test_a_method_that_is_not_shown_is_computed_with_in_a_child_first(handlers: Handlers, project: Project):
    session = handlers.sessions.get("me")
    session.show(project, replace(default_request(project), methods=("simple_mean",), references=()))
    list(handlers.run("me"))
    seen: list[int] = []
    for method in ("simple_mean", "regmean", "regmean"):
        seen.append(0)
        for _ in Examining(handlers).examine("me", method, "moved", "cosine"):
            seen[-1] = max(seen[-1], len(children()))
    assert seen == [0, 1, 0] and children() == []


def test_a_child_that_is_killed_fails_its_job_with_a_sentence_and_nothing_else(handlers: Handlers, project: Project):
    session = handlers.sessions.get("me")
    session.show(project, default_request(project))
    soon(lambda child: os.kill(child.pid, signal.SIGKILL), after=0.3)
    with pytest.raises(MergeError, match="died, or took more than"):
        list(handlers.run("me"))
    assert children() == [] and handlers.rehearsals.is_due(project, session.request)


def test_a_child_that_grows_or_hangs_is_ended_with_a_sentence(project: Project, tmp_path: Path):
    small = Settings(cache_dir=tmp_path, host="0.0.0.0", max_worker_bytes=1 << 29, max_job_seconds=0.5)
    rehearsals = rehearsing.Rehearsals(small, blank_project())
    with pytest.raises(MergeError, match=r"took more than 0\.5 s"):
        list(rehearsals.hold(project, default_request(project), Progress()))
    assert children() == []


def test_stopping_ends_the_child_at_once(handlers: Handlers, project: Project):
    progress, began = Progress(), time.monotonic()
    with pytest.raises(StoppedError):
        for _ in handlers.rehearsals.hold(project, default_request(project), progress):
            progress.stop()
    assert children() == [] and time.monotonic() - began < 20
