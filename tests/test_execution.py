"""Who may compute when, how work is followed and stopped, and what two threads that want the same thing get."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections.abc import Callable

import pytest

from fusion_ui.errors import MergeError, StoppedError
from fusion_ui.execution import Job, Recent, Turns
from fusion_ui.progress import Progress

WAIT = 10.0
"""Seconds until a thread that should have moved on counts as stuck; reached only by a failure."""


def start(work: Callable[[], object]) -> threading.Event:
    """Run `work` in a thread; the event says that it came to its end without an error."""
    done = threading.Event()
    threading.Thread(target=lambda: (work(), done.set()), daemon=True).start()
    return done


def take_turn(progress: Progress) -> None:
    with progress.turn():
        pass


def test_idle_work_waits_while_urgent_work_runs():
    turns = Turns()
    with turns.urgent():
        with turns.urgent():  # two people wait
            passed = start(lambda: take_turn(turns.idle_progress()))
            assert not passed.wait(0.3)
        assert not passed.wait(0.3)  # one still does
    assert passed.wait(WAIT)
    take_turn(turns.idle_progress())  # nobody waits: at once


def test_urgent_work_does_not_wait_for_itself():
    turns = Turns()
    with turns.urgent():
        assert start(lambda: take_turn(turns.urgent_progress())).wait(WAIT)


def test_urgent_work_that_fails_lets_idle_work_go_on():
    turns = Turns()
    with pytest.raises(RuntimeError), turns.urgent():
        raise RuntimeError
    assert start(lambda: take_turn(turns.idle_progress())).wait(WAIT)


def test_idle_work_that_is_stopped_while_it_waits_ends_without_computing():
    turns, computed = Turns(), []
    progress = turns.idle_progress()

    def work() -> None:
        with pytest.raises(StoppedError), progress.turn():
            computed.append("a step")

    with turns.urgent():
        ended = start(work)
        assert not ended.wait(0.2)
        progress.stop()
        assert ended.wait(WAIT)
    assert computed == []


def test_a_part_of_idle_work_is_idle_too_until_somebody_waits_for_it():
    turns = Turns()
    part = turns.idle_progress().part(0.0, 0.5)
    with turns.urgent():
        assert not start(lambda: take_turn(part)).wait(0.3)
        assert start(lambda: take_turn(turns.promote(part).part(0.5, 1.0))).wait(WAIT)


@pytest.mark.parametrize("kind", ["urgent_progress", "idle_progress"])
def test_one_step_computes_at_a_time(kind: str):
    turns, inside, most = Turns(), [], []

    def work() -> None:
        progress = getattr(turns, kind)()
        for _ in range(20):
            with progress.turn():
                inside.append(1)
                time.sleep(0.001)
                most.append(len(inside))
                inside.pop()

    ended = [start(work) for _ in range(3)]
    assert all(event.wait(WAIT) for event in ended)
    assert (len(most), max(most)) == (60, 1)


def test_a_step_inside_a_step_of_the_same_work_does_not_wait_for_it():
    progress = Turns().urgent_progress()

    def nest() -> None:
        with progress.turn():
            take_turn(progress)

    assert start(nest).wait(WAIT)


def test_a_step_that_fails_frees_the_turn():
    turns = Turns()
    with pytest.raises(RuntimeError), turns.urgent_progress().turn():
        raise RuntimeError
    assert start(lambda: take_turn(turns.urgent_progress())).wait(WAIT)


def test_progress_reports_its_share_and_stops_with_the_whole():
    seen: list[tuple[float, str]] = []
    whole = Progress(lambda fraction, message: seen.append((fraction, message)))
    part = whole.part(0.5, 1.0, "Second: ")
    part.report(0.5, "half")
    part.part(0.5, 1.0, "again: ").report(7.0, "over")
    assert seen == [(0.75, "Second: half"), (1.0, "Second: again: over")]
    whole.stop()
    assert part.is_stopped
    for step in (lambda: part.report(1.0, "done"), part.turn, part.check):
        with pytest.raises(StoppedError):
            step()
    assert len(seen) == 2


def test_turns_alternate_between_two_who_both_compute():
    turns, order, both = Turns(), [], threading.Barrier(2)

    def work(name: str) -> None:
        progress = turns.urgent_progress()
        both.wait(WAIT)
        for _ in range(30):
            with progress.turn():
                order.append(name)
                time.sleep(0.001)

    ended = [start(lambda name=name: work(name)) for name in "ab"]
    assert all(event.wait(WAIT) for event in ended)
    contested = order[2:-2]
    assert sum(a == b for a, b in itertools.pairwise(contested)) <= 5, order


def test_a_pause_ends_at_once_when_a_stop_is_asked_for():
    progress = Progress()
    started = time.monotonic()
    progress.pause(0.05)
    assert time.monotonic() - started >= 0.05
    threading.Timer(0.05, progress.stop).start()
    with pytest.raises(StoppedError):
        progress.pause(WAIT)
    assert time.monotonic() - started < WAIT / 2


def test_a_job_gives_reports_as_they_come_and_then_the_result():
    go_on = threading.Event()

    def work(progress: Progress) -> str:
        progress.report(0.25, "a quarter")
        assert go_on.wait(WAIT)
        progress.report(0.75, "three quarters")
        return "result"

    job = Job(work, Progress)
    steps = job.follow(0.01)
    assert next(steps) == (0.25, "a quarter")  # before the work has ended
    go_on.set()
    assert next(steps) == (0.75, "three quarters")
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == "result" and not job.is_running


def test_a_job_raises_in_whoever_follows_what_the_work_raised():
    def work(_: Progress) -> None:
        raise MergeError("no")

    job = Job(work, Progress)
    for _ in range(2):
        with pytest.raises(MergeError, match="no"):
            list(job.follow(0.01))


def test_a_job_goes_on_unfollowed_until_it_is_stopped():
    def work(progress: Progress) -> None:
        while True:
            progress.report(0.5, "on and on")
            time.sleep(0.001)

    job = Job(work, Progress)
    for _ in range(2):  # one after the other
        steps = job.follow(0.01)
        next(steps)
        steps.close()
        assert job.is_running
    job.stop()
    with pytest.raises(StoppedError):
        list(job.follow(0.01))


def test_two_threads_that_want_the_same_value_get_one_made_once():
    recent, made, go_on = Recent(2), [], threading.Event()

    def make() -> object:
        made.append(1)
        assert go_on.wait(WAIT)
        return object()

    found: list[object] = []
    ended = [start(lambda: found.append(recent.get_or_make("key", make))) for _ in range(3)]
    # Another value is not held up by it.
    assert recent.get_or_make("other", lambda: "other value") == "other value"
    go_on.set()
    assert all(event.wait(WAIT) for event in ended)
    assert len(made) == 1 and len(set(map(id, found))) == 1


def test_a_value_that_could_not_be_made_is_made_by_the_next_who_asks():
    recent = Recent(2)

    def fail() -> str:
        raise StoppedError("Stopped.")

    with pytest.raises(StoppedError):
        recent.get_or_make("key", fail)
    assert recent.peek("key") is None
    assert recent.get_or_make("key", lambda: "value") == recent.peek("key") == "value"


def test_values_asked_for_last_are_kept():
    recent = Recent(2)
    for key in ("a", "b", "a", "c"):
        recent.get_or_make(key, key.lower)
    assert [recent.peek(key) for key in "abc"] == ["a", None, "c"]


def test_nothing_is_kept_of_values_that_are_gone_or_could_not_be_made():
    recent = Recent(1)
    for key in map(str, range(50)):
        recent.get_or_make(key, key.lower)
        recent.get_or_make(key, key.lower)
        with pytest.raises(ZeroDivisionError):
            recent.get_or_make(f"failing {key}", lambda: 1 / 0)
    gc.collect()
    assert len(recent._making) == 0
