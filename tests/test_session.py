"""One visitor's mailbox: what a newer state stops, and what goes on."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fusion_ui.errors import RecipeError, StoppedError
from fusion_ui.execution import Job
from fusion_ui.progress import Progress
from fusion_ui.projects.building import blank_project
from fusion_ui.projects.project import ProjectExpert
from fusion_ui.ui.request import FuseRequest, renew_request
from fusion_ui.ui.session import Session
from fusion_ui.ui.sessions import Sessions

REQUEST = FuseRequest(("a",), (("a", "d"),), 8, ("regmean",), (), (("regmean", (("alpha", 0.9),)),))
OTHER = replace(REQUEST, parameters=(("regmean", (("alpha", 0.5),)),))


def endless() -> Job:
    def work(progress: Progress) -> None:
        while True:
            progress.check()
            time.sleep(0.001)

    return Job(work, Progress)


def test_a_newer_state_stops_the_work_on_the_older_one_but_no_job():
    session = Session(blank_project(), REQUEST, version=0)
    job = session.job(0, "statistics", endless)
    with session.working(0, Progress()) as progress:
        session.post(REQUEST)
        assert not progress.is_stopped  # nothing changed
        session.post(OTHER)
        assert progress.is_stopped
    with pytest.raises(StoppedError):
        session.check(0)
    with pytest.raises(StoppedError):
        session.job(0, "late", endless)
    with session.working(0, Progress()) as late:
        assert late.is_stopped
    assert job.is_running and session.job(1, "statistics", endless) is job
    session.keep_jobs(1, ["statistics"])
    assert not job.progress.is_stopped
    session.keep_jobs(1, [])
    assert job.progress.is_stopped
    again = session.job(1, "statistics", endless)
    assert again is not job
    session.stop()
    assert again.progress.is_stopped


def test_a_state_that_was_overtaken_on_its_way_is_dropped():
    session = Session(blank_project(), REQUEST, version=0)
    session.post(OTHER, sent=2.0)
    session.post(REQUEST, sent=1.0)
    session.refuse(RecipeError("late"), sent=1.5)
    assert session.request == OTHER and session.version == 1 and session.refusal is None
    session.post(REQUEST, sent=3.0)
    assert session.request == REQUEST
    session.post(OTHER)  # another program says nothing of time
    assert session.request == OTHER


def test_what_is_refused_stops_everything_and_waits_to_be_said():
    session = Session(blank_project(), REQUEST, version=0)
    with session.working(0, Progress()) as progress:
        session.refuse(RecipeError("no"))
        assert progress.is_stopped and session.is_stopped
    assert str(session.refusal) == "no"
    session.post(REQUEST)
    assert session.refusal is None and not session.is_stopped


def test_visitors_have_sessions_of_their_own_and_are_forgotten(tmp_path):
    sessions = Sessions(lambda: Session(blank_project(), REQUEST, version=0), tmp_path)
    mine, other = sessions.get("me"), sessions.get("you")
    job = mine.job(mine.version, "key", endless)
    other.post(OTHER)
    assert mine.request == REQUEST and sessions.get("me") is mine
    (sessions.folder_of(mine) / "file").write_text("mine")
    assert sessions.folder_of(mine) != sessions.folder_of(other)
    sessions.forget("me")
    assert len(list(sessions.folder_of(other).parent.iterdir())) == 1
    for gone in ("4000000-1", f"{os.getpid()}-1", "4000000"):  # a number that no process has, or another had
        (tmp_path / gone / "left").mkdir(parents=True)
    Sessions(lambda: Session(blank_project(), REQUEST, version=0), tmp_path)
    assert len(list(tmp_path.iterdir())) == 1 and sessions.folder_of(other).is_dir()
    assert job.progress.is_stopped and sessions.get("me") is not mine


def test_a_call_that_waited_until_its_page_was_left_works_for_nobody(tmp_path):
    sessions = Sessions(lambda: Session(blank_project(), REQUEST, version=0), tmp_path)
    for visitor in ("", "somebody"):  # who has a key may come back
        mine = sessions.get("me")
        mine.visitor = visitor
        sessions.forget("me")
        late = sessions.get("me")
        assert late.has_left and late.is_stopped and sessions.ids() == []
        with late.fetching(endless()) as job, pytest.raises(StoppedError):
            list(job.follow())
        with pytest.raises(StoppedError, match="closed"):
            sessions.folder_of(late)
        sessions.welcome("me")
        assert not sessions.get("me").has_left and sessions.ids() == ["me"]
        assert (sessions.get("me") is mine) == bool(visitor)
        sessions.forget("me")
        sessions.take_back("somebody")
        sessions.welcome("me")
    assert not [*tmp_path.rglob("*")]


def test_a_browser_is_known_by_what_it_cannot_choose(tmp_path):
    sessions = Sessions(lambda: Session(blank_project(), REQUEST, version=0), tmp_path)
    for name, key in (("tab", "k"), ("other tab", "k"), ("stranger", "s")):
        sessions.owners.claim("session", name, key)
        sessions.get(name).visitor = f"whatever {name} says"
    tab, other, stranger = (sessions.get(name).person for name in ("tab", "other tab", "stranger"))
    assert tab == other != stranger


def test_a_page_whose_connection_was_lost_keeps_what_it_had(tmp_path, monkeypatch):
    monkeypatch.setattr("fusion_ui.ui.sessions.RETURN_SECONDS", 0.5)
    sessions = Sessions(lambda: Session(blank_project(), REQUEST, version=0), tmp_path)
    mine = sessions.get("me")
    mine.visitor, folder = "somebody", sessions.folder_of(mine)
    for _ in range(4):  # each time anew, and not from the first time on
        sessions.forget("me")
        time.sleep(0.2)
        sessions.welcome("me")
    assert sessions.get("me") is mine and folder.is_dir()
    sessions.forget("me")
    assert sessions.get("me") is mine, "a late call sees the files that are still there"
    time.sleep(1.0)
    assert not folder.exists() and sessions.get("me") is not mine


def test_a_change_of_project_keeps_the_settings_and_takes_the_new_experts():
    expert = ProjectExpert("b", "b", Path("b"), "e")
    project = replace(blank_project(), experts=(expert,))
    settings = replace(OTHER, methods=("ties", "regmean"), weights=(("a", 2.0),), num_examples=64)
    renewed = renew_request(settings, project)
    assert (renewed.experts, renewed.calibration, renewed.weights) == (("b",), (("b", "e"),), ())
    assert renewed.methods == ("regmean",), "a method that needs a base stayed chosen without one"
    assert renewed.parameters == settings.parameters and renewed.num_examples == 64
    assert renew_request(replace(settings, methods=("ties",)), project).methods == ("regmean", "simple_mean")


def test_a_refusal_is_never_written_over_a_newer_state():
    session, newer = Session(blank_project(), REQUEST, version=0), threading.Event()

    class Slow(Progress):
        """Stopping it takes as long as a newer state needs to arrive, if it can."""

        def stop(self) -> None:
            super().stop()
            if not newer.is_set():
                newer.set()
                arriving.start()
                arriving.join(0.2)

    arriving = threading.Thread(target=lambda: session.post(OTHER, 2.0))
    with session.working(0, Slow()):
        session.refuse(RecipeError("No expert is ticked."), 1.0)
        arriving.join()
    assert session.request == OTHER and session.refusal is None and not session.is_stopped


def test_whoever_leaves_a_fetch_finds_it_ended():
    """Its directory is removed then, and a child that still wrote there would leave half of it."""
    session, written = Session(blank_project(), REQUEST), list[str]()

    def work(progress: Progress) -> None:
        while not progress.is_stopped:
            time.sleep(0.001)
        time.sleep(0.3)  # the step that nothing interrupts
        written.append("the last")

    with session.fetching(Job(work, Progress)) as job:
        pass
    assert not job.is_running and written == ["the last"]


def test_work_of_one_label_is_stopped_alone():
    session = Session(blank_project(), REQUEST, version=0)
    with (
        session.working(0, Progress()) as merging,
        session.fetching(endless(), "takingaway") as export,
        session.fetching(endless(), "examining") as other,
    ):
        session.stop_fetches("takingaway")
        assert export.progress.is_stopped
        assert not merging.is_stopped and not other.progress.is_stopped and not session.is_stopped
