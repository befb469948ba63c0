"""What is remembered of a visitor: events, the file they lie in, whatever happens to it, and two merges in words."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fusion_ui.cli.application import app
from fusion_ui.errors import RecipeError
from fusion_ui.evaluation.scores import DomainScore, Role
from fusion_ui.results.difference import compare_merges
from fusion_ui.results.history import (
    MAX_AGE,
    MAX_MERGES,
    Added,
    Event,
    History,
    Left,
    Named,
    RememberedDomain,
    RememberedMerge,
    Removed,
    Settled,
)
from fusion_ui.results.store import HistoryStore
from fusion_ui.settings import read_settings
from fusion_ui.tasks.metrics import wilson_interval

ME, YOU = "0" * 32, "1" * 32
SETTINGS = {"experts": ["a", "b"], "weights": {}, "methods": ["regmean"]}


def domain(bits: str, title: str = "A", sentences: str = "s") -> RememberedDomain:
    right = np.array([bit == "1" for bit in bits])
    low, high = wilson_interval(int(right.sum()), len(bits))
    score = DomainScore(
        title, "report", Role.IN_DOMAIN, float(right.mean()), int(right.sum()), len(bits), len(bits), low, high
    )
    return RememberedDomain(title, sentences, base64.b64encode(np.packbits(right).tobytes()).decode(), score)


def merge(key: str, when: float = 0.0, domains: tuple[RememberedDomain, ...] = (domain("110"),)) -> RememberedMerge:
    parameters = {"alpha": 0.5}
    return RememberedMerge(
        key, when, "demo", "The demo", f"RegMean {key}", "#123456", "regmean", parameters, SETTINGS, domains
    )


def store_in(folder: Path, now: float = 1e9) -> HistoryStore:
    return HistoryStore(folder, 1 << 20, clock=lambda: now)


def test_the_list_is_newest_first_each_merge_once_with_names_and_rest():
    history = History().apply([Added(merge("a", 1)), Added(merge("b", 2)), Added(merge("a", 3))])
    assert [m.key for m in history.newest_first] == ["b", "a"] and history.merges["a"].time == 1
    history = history.apply([Settled("a", 4), Named("b", "<b>mine</b>"), Named("gone", "x"), Removed("gone")])
    first, second = history.newest_first
    assert (first.key, first.is_settled, first.label) == ("a", True, "RegMean a")
    assert (second.is_settled, second.label) == (False, "<b>mine</b>")
    history = history.apply([Removed("a")])
    assert list(history.merges) == ["b"] and history.removed == {"a", "gone"}
    assert history.apply([Added(merge("a", 9))]).removed == {"gone"}


def test_the_last_place_is_the_latest_by_its_own_time():
    late, early = Left(5.0, "demo", {"n": 1}), Left(3.0, "own", {"n": 2})
    assert History().apply([late, early]).last == late and History().apply([early, late]).last == late


def test_what_the_slider_only_passed_is_forgotten_first():
    history = History().apply([Added(merge("named", 0)), Named("named", "mine"), Added(merge("settled", 1))])
    history = history.apply([Settled("settled", 1)])
    history = history.apply([Added(merge(str(i), 10.0 + i)) for i in range(MAX_MERGES + 5)])
    assert len(history.merges) == MAX_MERGES
    assert {"named", "settled"} <= set(history.merges) and "6" not in history.merges and "7" in history.merges


keys = st.sampled_from("abc")
events = st.one_of(
    st.builds(Added, st.builds(merge, keys, st.floats(0, 100))),
    st.builds(Settled, keys, st.floats(0, 100)),
    st.builds(Named, keys, st.text(max_size=5)),
    st.builds(Removed, keys),
    st.builds(Left, st.floats(0, 100), st.just("demo"), st.just(SETTINGS)),
)


@given(st.lists(st.lists(events, max_size=4), max_size=6))
def test_a_store_gives_back_what_the_events_amount_to(batches: list[list[Event]]):
    with tempfile.TemporaryDirectory() as folder:
        store = store_in(Path(folder), now=100.0)
        for batch in batches:
            store.append(ME, batch)
        expected = History().apply([event for batch in batches for event in batch])
        assert store.read(ME) == expected
        assert store_in(Path(folder), now=100.0).read(ME) == expected, "the next server finds something else"
        again = History().apply(expected.as_events())
        assert again == expected


def test_two_visitors_have_a_file_each_that_does_not_tell_their_ids(tmp_path: Path):
    store = store_in(tmp_path)
    store.append(ME, [Added(merge("a", 1e9))])
    assert store.read(YOU) == History()
    store.append(YOU, [Added(merge("b", 1e9))])
    assert list(store.read(ME).merges) == ["a"] and list(store_in(tmp_path).read(YOU).merges) == ["b"]
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == 2 and not any(ME in name or YOU in name for name in names)
    assert [list(history.merges) for history in store_in(tmp_path).read_all()] in ([["a"], ["b"]], [["b"], ["a"]])


def test_a_torn_last_line_is_passed_over_and_costs_nothing_that_follows(tmp_path: Path):
    store_in(tmp_path).append(ME, [Added(merge("a", 1e9)), Added(merge("b", 1e9))])
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-40])
    store = store_in(tmp_path)
    assert list(store.read(ME).merges) == ["a"]
    store.append(ME, [Added(merge("c", 1e9))])
    assert list(store_in(tmp_path).read(ME).merges) == ["a", "c"]
    path.write_bytes(b'\xff\x00{"kind":"added"}\n[[[[\n' + path.read_bytes())
    assert list(store_in(tmp_path).read(ME).merges) == ["a", "c"]


WRITE_UNTIL_KILLED = """
import sys
from pathlib import Path
from test_history import ME, Added, merge, store_in
store = store_in(Path(sys.argv[1]))
for i in range(100_000):
    store.append(ME, [Added(merge(str(i), 1e9))])
    print(i, flush=True)
"""


def test_a_process_that_is_killed_leaves_whole_lines(tmp_path: Path):
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here.parent), str(here)])}
    command = [sys.executable, "-c", WRITE_UNTIL_KILLED, str(tmp_path / "history")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 300:
            pass
        os.kill(process.pid, signal.SIGKILL)
        said = [int(line) for line in process.stdout.read().split() if line.isdigit()]
    last = max(said, default=300)
    lines = next((tmp_path / "history").iterdir()).read_bytes().split(b"\n")
    whole = [json.loads(line)["merge"]["key"] for line in lines[:-1]]
    assert whole[: last + 1] == [str(i) for i in range(last + 1)], "what was said to be kept is not there"
    store = store_in(tmp_path / "history")
    assert len(store.read(ME).merges) == MAX_MERGES
    store.append(ME, [Named(whole[-1], "kept")])
    assert store_in(tmp_path / "history").read(ME).merges[whole[-1]].name == "kept"


def test_a_file_that_grows_is_written_anew_with_what_it_amounts_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fusion_ui.results.store.MAX_FILE_BYTES", 20_000)
    store = store_in(tmp_path)
    for i in range(400):
        store.append(ME, [Added(merge(str(i % 5), 1e9)), Left(1e9 + i, "demo", SETTINGS)])
    assert next(tmp_path.iterdir()).stat().st_size <= 20_000
    found = store_in(tmp_path).read(ME)
    assert len(found.merges) == 5 and found.last is not None and found.last.time == 1e9 + 399


def test_old_merges_old_files_and_too_many_bytes_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fusion_ui.results.store.WRITES_BETWEEN_TRIMS", 1)
    store_in(tmp_path).append(ME, [Added(merge("old", 1e9)), Added(merge("new", 1e9 + MAX_AGE)), Left(1e9, "demo", {})])
    found = store_in(tmp_path, now=1e9 + MAX_AGE + 1).read(ME)
    assert list(found.merges) == ["new"] and found.last is None
    stale = tmp_path / "stale.jsonl"
    stale.write_text("{}\n")
    now = time.time()
    os.utime(stale, (now - 2 * MAX_AGE, now - 2 * MAX_AGE))
    store = HistoryStore(tmp_path, 1)
    store.append(YOU, [Added(merge("a", now))])
    assert not stale.exists() and list(tmp_path.iterdir()) == [], "one byte in all was allowed"
    assert list(store.read(YOU).merges) == ["a"], "this server still knows"


def test_a_file_that_went_while_its_visitor_is_here_begins_anew_with_all_that_is_known(tmp_path: Path):
    store = store_in(tmp_path)
    store.append(ME, [Added(merge("a", 1e9)), Named("a", "mine")])
    next(tmp_path.iterdir()).unlink()
    store.append(ME, [Added(merge("b", 1e9))])
    found = store_in(tmp_path).read(ME).merges
    assert [(key, found[key].name) for key in found] == [("a", "mine"), ("b", "")]


def test_a_disk_that_cannot_be_written_is_no_end_of_it(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").write_text("")
    store = store_in(tmp_path / "file" / "history")
    assert list(store.append(ME, [Added(merge("a", 1e9))]).merges) == ["a"]
    assert "could not be kept on disk" in caplog.text


def test_a_difference_in_words_agrees_with_counting_by_hand():
    first = merge("a", domains=(domain("1" * 90 + "0" * 10, "A", "s"), domain("10", "B", "t")))
    second = merge("b", domains=(domain("0" * 40 + "1" * 60, "A", "s"), domain("11", "B", "other")))
    found = compare_merges(first, second)
    assert found.num_sentences == 100 and [title for title, _ in found.by_domain] == ["A"]
    assert found.mean.value == pytest.approx(0.30)
    # Bonett and Price: 40 sentences only the first has right, 10 only the second.
    p, q = 41 / 102, 11 / 102
    half = 1.959964 * ((p + q - (p - q) ** 2) / 102) ** 0.5
    low, high = 100 * (p - q - half), 100 * (p - q + half)
    assert found.words == f"30.0 points better [{low:.1f}, {high:.1f}]: clearly better"
    assert compare_merges(second, first).words == f"30.0 points worse [{-high:.1f}, {-low:.1f}]: clearly worse"
    assert "100 sentences, report split" in found.detail and "A +30.0" in found.detail
    same = compare_merges(first, replace(first, key="c"))
    assert same.words.startswith("0.0 points apart [") and same.words.endswith("no clear difference")


def test_merges_of_other_sentences_are_not_compared():
    with pytest.raises(RecipeError, match="did not answer the same sentences"):
        compare_merges(merge("a"), merge("b", domains=(domain("110", "A", "other"),)))


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_answers_survive_packing(bits: list[bool]):
    packed = domain("".join("1" if bit else "0" for bit in bits))
    assert packed.unpack().tolist() == bits


def test_the_command_lists_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FUSION_UI_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("SPACE_ID", raising=False)
    read_settings.cache_clear()
    try:
        now = time.time()
        store = HistoryStore(read_settings().history_dir, 1 << 20)
        store.append(
            ME, [Added(merge("aa1", now)), Added(merge("bb2", now + 1, (domain("111"),))), Named("aa1", "one")]
        )
        store.append(YOU, [Added(merge("bb2", now + 2, (domain("111"),)))])
        listed = CliRunner().invoke(app, ["history"]).output
        assert listed.index("RegMean bb2") < listed.index("one (RegMean aa1)") and listed.count("bb2 ") == 1
        described = json.loads(CliRunner().invoke(app, ["history", "--json"]).output)
        assert [entry["key"] for entry in described] == ["bb2", "aa1"]
        compared = CliRunner().invoke(app, ["history", "--compare", "bb", "aa"]).output
        assert compared.startswith("RegMean bb2 against one: 33.3 points better [")
        with pytest.raises(RecipeError, match="0 merges have a key that begins with 'zz'"):
            CliRunner().invoke(app, ["history", "--compare", "zz", "aa"], catch_exceptions=False)
        monkeypatch.setenv("FUSION_UI_HOST", "0.0.0.0")
        read_settings.cache_clear()
        with pytest.raises(RecipeError, match="open to others"):
            CliRunner().invoke(app, ["history"], catch_exceptions=False)
    finally:
        monkeypatch.undo()
        read_settings.cache_clear()
