"""Columns of text and label are guessed by name, then by content, and a preview shows what was guessed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fusion_ui.domains.columns import guess_columns, preview
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import DomainError

LONG = ["the first of these texts", "a second one that is longer", "and a third text", "the fourth of all"]


@pytest.mark.parametrize(
    ("columns", "texts", "label"),
    [
        (["id", "text", "label"], ("text",), "label"),
        (["Label", "Sentence", "idx"], ("Sentence",), "Label"),
        (["premise", "hypothesis", "label"], ("premise", "hypothesis"), "label"),
        (["gold_label", "sentence1", "sentence2"], ("sentence1", "sentence2"), "gold_label"),
        (["question1", "question2", "label"], ("question1", "question2"), "label"),
        (["question", "sentence", "label"], ("question", "sentence"), "label"),
        (["text", "premise", "hypothesis", "label"], ("premise", "hypothesis"), "label"),
        (["sentence", "sentence2", "label"], ("sentence",), "label"),
        (["Review Body", "Stars"], ("Review Body",), "Stars"),
        (["text", "label_text", "label"], ("text",), "label"),
        (["tweet", "Sentiment"], ("tweet",), "Sentiment"),
    ],
)
def test_well_known_names_come_first(columns: list[str], texts: tuple[str, ...], label: str):
    # The content says nothing, or the opposite: every column holds the same.
    guess = guess_columns(pd.DataFrame({name: ["a", "b"] for name in columns}))
    assert (guess.text_columns, guess.label_column) == (texts, label)
    assert all(repr(name) in guess.reason for name in (*texts, label)) and "well-known" in guess.reason
    assert guess_columns(pd.DataFrame(columns=columns)).text_columns == texts


@pytest.mark.parametrize(
    ("content", "texts", "label"),
    [
        ({"v1": ["ham", "spam", "ham", "spam"], "v2": LONG}, ("v2",), "v1"),
        ({"v2": LONG, "when": ["2020-01-01"] * 4, "v1": [0, 1, 1, 0]}, ("v2",), "v1"),
        ({"v1": [0.0, 1.0, None, 1.0, 0.0, 0.0], "v2": [*LONG, None, None]}, ("v2",), "v1"),
        ({"n": [10**30, 10**31, 10**32, 10**33], "v2": ["a", "b", "c", "d"]}, ("v2",), None),
        ({"n": ["12345678901"] * 4, "v2": ["a", "b", "c", "d"]}, ("v2",), None),
        ({"v2": LONG, "one": ["x"] * 4}, ("v2",), None),
        ({"v2": LONG, "scores": [[1], [2], [1], [2]], "v1": ["x", "y", "y", "x"]}, ("v2",), "v1"),
        ({"v2": LONG, "scores": [np.array([1, 2])] * 4, "v1": ["x", "y", "y", "x"]}, ("v2",), "v1"),
        ({"v2": LONG, "split": ["x", "y", "y", "x"], "v1": ["x", "y", "x", "y"]}, ("v2",), "v1"),
        ({"id": [1, 2, 3, 4]}, (), None),
        ({}, (), None),
        ({"body": LONG, "v1": [True, False, True, False]}, ("body",), "v1"),
        ({"v2": LONG, "label": ["x", "y", "z", "w"]}, ("v2",), "label"),
    ],
)
def test_content_decides_where_names_do_not(content: dict[str, list], texts: tuple[str, ...], label: str | None):
    guess = guess_columns(pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in content.items()}))
    assert (guess.text_columns, guess.label_column) == (texts, label)
    assert ("no column holds text" in guess.reason.lower()) == (not texts)
    assert ("no column has few distinct values" in guess.reason) == (label is None)


def test_of_two_columns_with_one_name_none_is_guessed():
    frame = pd.DataFrame([["a", "b", "x"], ["c", "d", "y"]], columns=["text", "text", "label"])
    assert guess_columns(frame).text_columns == () and guess_columns(frame).label_column == "label"


def test_missing_values_of_pandas_are_missing():
    frame = pd.DataFrame({"v2": [*LONG, pd.NA], "v1": pd.array([1, 0, pd.NA, 1, 0], dtype="Int64")})
    assert guess_columns(frame).label_column == "v1"


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_preview_shows_first_rows_and_counts_all(tmp_path: Path, ending: str):
    path = tmp_path / f"data{ending}"
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(2500)], "label": ["b"] * 2000 + ["a"] * 500})
    {".csv": lambda: frame.to_csv(path, index=False), ".parquet": lambda: frame.to_parquet(path)}.get(
        ending, lambda: frame.to_json(path, orient="records", lines=True)
    )()
    seen = preview(path, 2)
    assert seen.columns == ("text", "label")
    assert seen.rows == (("text 0", "b"), ("text 1", "b"))
    assert seen.num_rows == 2500
    assert list(seen.num_by_label.items()) == [("b", 2000), ("a", 500)]
    assert (seen.guess.text_columns, seen.guess.label_column) == (("text",), "label")
    assert len(preview(path).rows) == 5


def test_a_file_sorted_by_label_shows_all_of_its_labels(tmp_path: Path):
    path = tmp_path / "data.csv"
    path.write_text("v2,v1\n" + "".join(f"some text {i},{'b' if i < 2500 else 'a'}\n" for i in range(5000)), "utf-8")
    seen = preview(path)
    assert (seen.guess.label_column, seen.num_by_label) == ("v1", {"b": 2500, "a": 2500})


@pytest.mark.parametrize(
    "lines",
    [
        ["a fine film;good", "dull;bad", "great;good", "a bore;bad"],
        ["0,a fine film", "1,dull", "1,great", "0,a bore"],
        [f"{'good words ' * 10},5", "dull,1", "great,5", "a bore,1"],
    ],
)
def test_what_a_preview_of_a_file_without_names_guesses_can_be_loaded(tmp_path: Path, lines: list[str]):
    path = tmp_path / "data.csv"
    path.write_text("\n".join(lines), "utf-8")
    seen = preview(path)
    assert seen.columns == ("#1", "#2") and seen.num_rows == 4 and len(seen.rows) == 4
    assert "first row looks like data" in seen.guess.reason
    domain = load_domain(path, "x", seen.guess.text_columns[0], seen.guess.label_column)
    assert domain.texts[1:] == ("dull", "great", "a bore") and len(set(domain.labels)) == 2
    assert dict(seen.num_by_label) == dict.fromkeys(domain.labels, 2)


@pytest.mark.parametrize(
    "text",
    ["0,1\nfine,x\nbad,y\n", "text,label\ntext,label\nfine,x\nbad,y\nmeh,y\nso,x\n", ",text,label\n,fine,x\n,bad,y\n"],
)
def test_names_are_not_taken_for_data(tmp_path: Path, text: str):
    path = tmp_path / "data.csv"
    path.write_text(text, "utf-8")
    assert preview(path).columns == tuple(text.splitlines()[0].split(","))


def test_a_preview_shows_cells_of_any_kind_and_cuts_long_ones(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    rows = [{"text": "x" * 1_000_000, "label": 1, "more": {"a": [1]}}, {"text": None, "label": 1.0}, {"text": "b"}]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    seen = preview(path)
    assert seen.rows == (("x" * 300, "1", "{'a': [1]}"), ("", "1.0", ""), ("b", "", ""))
    assert (seen.num_rows, seen.num_by_label) == (3, {"1": 2})
    frame = pd.DataFrame({"text": ["a"], "image": [b"\xff\xd8"], "label": [["x", "y"]]})
    frame.to_parquet(path.with_suffix(".parquet"))
    seen = preview(path.with_suffix(".parquet"))
    assert seen.rows == (("a", "b'\\xff\\xd8'", "x y"),)


def test_a_preview_refuses_what_cannot_be_read(tmp_path: Path):
    with pytest.raises(DomainError, match=r"none\.csv does not exist"):
        preview(tmp_path / "none.csv")
