"""The report of a page: its numbers and figures are those of the settings that it names, or there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_report import Tags
from tiny_project import write_project

from fusion_ui.errors import RecipeError
from fusion_ui.settings import Settings
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.request import FuseRequest
from fusion_ui.ui.session import Session
from fusion_ui.ui.taking_away import TakingAway
from fusion_ui.workspace import Workspace

NAME = "task_arithmetic"
FIRST, SECOND = 0.9, 0.3


@pytest.fixture
def taking(settings: Settings, tmp_path: Path) -> TakingAway:
    return TakingAway(Handlers(Workspace(settings), write_project(tmp_path)))


@pytest.fixture
def session(taking: TakingAway) -> Session:
    return taking.handlers.sessions.get("v")


def scaled(request: FuseRequest, coefficient: float) -> FuseRequest:
    values = dict(request.parameters) | {NAME: (("scaling_coefficient", coefficient),)}
    return replace(request, methods=(NAME,), parameters=tuple(values.items()))


def run(taking: TakingAway, request: FuseRequest) -> None:
    taking.handlers.post(request, "v")
    *_, last = taking.handlers.run("v")
    assert last[-1]["message"] == "Up to date"


def read_report(taking: TakingAway) -> str:
    return Tags(taking.save_report("v", NAME)[1]["text"]).text


def refuse_report(taking: TakingAway) -> None:
    with pytest.raises(RecipeError, match="Wait until it says Up to date"):
        taking.save_report("v", NAME)


def test_a_report_has_no_numbers_of_other_settings(taking: TakingAway, session: Session):
    first, second = (scaled(session.request, value) for value in (FIRST, SECOND))
    taking.handlers.post(first, "v")
    refuse_report(taking)  # nothing was evaluated
    run(taking, first)
    report = read_report(taking)
    assert f"λ={FIRST}" in report and "sentences: Domain 0 30, Domain 1 30" in report
    taking.handlers.post(second, "v")
    refuse_report(taking)  # the numbers are still the old ones
    taking.handlers.stop("v")
    refuse_report(taking)  # and stay so
    run(taking, second)
    report = taking.save_report("v", NAME)[1]["text"]
    assert f"λ={SECOND}" in report and f"λ={FIRST}" not in report


def test_a_report_has_no_numbers_of_a_part_of_the_sentences(taking: TakingAway, session: Session):
    run(taking, scaled(session.request, FIRST))
    row = session.shown["expert d1"]
    half = tuple(replace(score, num_examples=score.num_examples // 2) for score in row.scores)
    session.shown = {**session.shown, "expert d1": replace(row, scores=half)}
    refuse_report(taking)


def test_a_report_has_no_curve_of_other_settings(taking: TakingAway, session: Session):
    run(taking, scaled(session.request, FIRST))
    [*taking.handlers.fill_curve("v")]
    assert "Task arithmetic λ, every value, select split" in read_report(taking)
    session.curve = dict([*session.curve.items()][:5])
    assert "Task arithmetic λ, 5 of 21 values, select split" in read_report(taking)
    session.curve_family = "another"
    assert "select split" not in read_report(taking)
