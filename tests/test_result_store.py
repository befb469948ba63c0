"""What is remembered of answers: bounded by bytes, whatever the size of one run."""

from __future__ import annotations

import pytest
import torch

from fusion_ui.evaluation import store
from fusion_ui.evaluation.store import LogitsMemory

RUN = torch.zeros(10, 4)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> LogitsMemory:
    """Room for three runs."""
    monkeypatch.setattr(store, "MAX_BYTES_IN_MEMORY", 3 * RUN.nbytes)
    return LogitsMemory()


def known(memory: LogitsMemory) -> str:
    return "".join(model for model in "abcde" if memory.get(model, "d") is not None)


def test_runs_asked_for_longest_ago_go_first(memory: LogitsMemory):
    for model in "abc":
        memory.put(model, "d", RUN, True)
    memory.get("a", "d")
    memory.put("d", "d", RUN, True)
    assert known(memory) == "acd"


def test_one_large_run_takes_the_room_of_several_small_ones(memory: LogitsMemory):
    for model in "abc":
        memory.put(model, "d", RUN, True)
    memory.put("d", "d", RUN.repeat(2, 1), True)
    assert known(memory) == "cd"


def test_a_run_that_grows_counts_once(memory: LogitsMemory):
    for size in (2, 5, 10):
        memory.put("a", "d", RUN[:size].clone(), size == 10)
    memory.put("b", "d", RUN, True)
    memory.put("c", "d", RUN, True)
    assert known(memory) == "abc"


def test_a_run_larger_than_all_the_room_is_there_for_whoever_made_it(memory: LogitsMemory):
    memory.put("a", "d", RUN, True)
    memory.put("b", "d", RUN.repeat(9, 1), True)
    assert known(memory) == "b"
    memory.put("c", "d", RUN, True)
    assert known(memory) == "c"
