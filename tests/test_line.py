"""Waiting in line: who comes when, what is said meanwhile, and what is refused."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from fusion_ui.errors import BusyError, StoppedError
from fusion_ui.ui import line as line_module
from fusion_ui.ui.line import Line


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "POLL_SECONDS", 0.01)


def test_others_wait_and_are_told_how_many_come_before_them():
    line = Line(at_once=1, per_visitor=2, most_waiting=3)
    with ExitStack() as first, ExitStack() as rest:
        assert list(first.enter_context(line.join("a")).wait()) == []
        mine, next_one = rest.enter_context(line.join("b")), rest.enter_context(line.join("c"))
        again = rest.enter_context(line.join("b"))
        assert next(mine.wait()) == "You are next" and next(next_one.wait()) == "1 person before you"
        assert next(again.wait()) == "2 people before you"
        with pytest.raises(BusyError, match="You have 2 things running or waiting here"), line.join("b"):
            pass
        with pytest.raises(BusyError, match="3 people wait"), line.join("d"):
            pass
        time.sleep(0.3)
        first.close()
        assert list(mine.wait()) == []
        assert line.describe(next_one) == "You are next, about 1 s"
    with line.join("d") as place:
        assert list(place.wait()) == [], "a place that was left was not free"


def test_who_has_something_going_on_waits_behind_who_has_nothing():
    line = Line(at_once=2, per_visitor=9, most_waiting=9)
    with ExitStack() as greedy, ExitStack() as other, ExitStack() as rest:
        for stack in (greedy, other):
            assert list(stack.enter_context(line.join("greedy")).wait()) == []
        more, modest = rest.enter_context(line.join("greedy")), rest.enter_context(line.join("modest"))
        other.close()
        assert next(more.wait()) == "1 person before you, about 1 s"
        assert list(modest.wait()) == []


def test_a_wait_can_be_stopped_and_leaves_the_line():
    line = Line(at_once=1, per_visitor=2, most_waiting=3)
    with line.join("a") as first:
        list(first.wait())
        with line.join("b") as place:
            place.stop()
            with pytest.raises(StoppedError):
                list(place.wait())
        with line.join("c") as place:
            assert next(place.wait()).startswith("You are next")


def test_many_threads_never_exceed_what_goes_on_at_once_and_all_come_to_their_turn():
    line, now, most = Line(at_once=3, per_visitor=4, most_waiting=100), Counter[str](), []
    lock = threading.Lock()

    def come(i: int) -> None:
        generator = random.Random(i)
        for _ in range(5):
            with line.join(f"v{i}") as place:
                list(place.wait())
                with lock:
                    now["going on"] += 1
                    most.append(now["going on"])
                time.sleep(generator.uniform(0, 0.005))
                with lock:
                    now["going on"] -= 1

    threads = [threading.Thread(target=come, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == 100 and max(most) == 3
