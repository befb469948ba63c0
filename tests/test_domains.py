"""Data files become domains: every format gives the same, and what cannot be read is refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fusion_ui.domains.checks import count_labels, describe_overlap, find_duplicates, find_overlap
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import DomainError

# Texts that a careless reader turns into numbers, missing values or dates.
TEXTS = ("fine, really", "NA", "-", "1e5", "null", 'a "quoted" word', "2020-01-01", "naïve ☕", "True")
LABELS = ("positive", "negative", "0", "1", "NA", "positive", "1", "0", "negative")

Strings = tuple[str, ...]

WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    ".jsonl": lambda frame, path: path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in frame.to_dict("records")), encoding="utf-8"
    ),
    ".parquet": lambda frame, path: frame.to_parquet(path),
    ".json": lambda frame, path: path.write_text(json.dumps(frame.to_dict("records"), indent=1), encoding="utf-8"),
    ".ndjson": lambda frame, path: frame.to_json(path, orient="records", lines=True),
}


@pytest.mark.parametrize("ending", WRITERS)
def test_every_format_gives_the_same_text_and_labels(tmp_path: Path, ending: str):
    path = tmp_path / f"report{ending}"
    WRITERS[ending](pd.DataFrame({"id": range(len(TEXTS)), "text": TEXTS, "label": LABELS}), path)
    domain = load_domain(path, "news", title="News")
    assert domain == Domain("news", "News", "report", TEXTS, LABELS)
    assert load_domain(path, "news", label_column=None).labels == ()
    assert load_domain(path, "news", "label", "text").texts == LABELS
    assert (domain.pairs, domain.notes) == ((), ())
    pairs = load_domain(path, "news", "label", None, pair_column="text")
    assert pairs == Domain("news", "news", "report", LABELS, (), TEXTS)


def test_columns_may_have_any_name_and_endings_any_case(tmp_path: Path):
    path = tmp_path / "data.CSV"
    path.write_text("Sentence,sentiment\nfine,1\n", encoding="utf-8")
    domain = load_domain(path, "news", "Sentence", "sentiment")
    assert (domain.title, domain.texts, domain.labels) == ("news", ("fine",), ("1",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.csv", None, "data.csv does not exist"),
        ("data.xlsx", b"text,label\n", "unknown ending. Give a file that ends in .csv, .tsv, .jsonl, .parquet"),
        ("data.csv", b"", "cannot be read as CSV"),
        ("data.csv", b"text,label\n", "has no rows"),
        ("data.csv", b"sentence,label\nfine,1\n", "has no column 'text'. Its columns are: sentence, label"),
        ("data.csv", b"text,sentiment\nfine,1\n", "has no column 'label'. Its columns are: text, sentiment"),
        ("data.csv", b"text,label\nfine\xff,1\n", "cannot be read as CSV"),
        ("data.csv", b'text,label\n"fine,1\n', "cannot be read as CSV"),
        ("data.jsonl", b'{"text": "fine", ', "cannot be read as JSONL"),
        ("data.parquet", b"text,label\nfine,1\n", "cannot be read as PARQUET"),
    ],
)
def test_what_cannot_be_read_is_refused_with_file_and_reason(
    tmp_path: Path, name: str, content: bytes | None, message: str
):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DomainError) as error:
        load_domain(path, "news")
    assert str(path) in str(error.value) and message in str(error.value)


def test_the_fingerprint_is_of_text_and_labels_and_of_nothing_else():
    domain = Domain("news", "News", "report", ("a", "b"), ("0", "1"))
    assert domain.fingerprint == Domain("x", "X", "other", ("a", "b"), ("0", "1")).fingerprint
    others = [
        Domain("news", "News", "report", ("b", "a"), ("0", "1")),
        Domain("news", "News", "report", ("a", "b"), ("1", "0")),
        Domain("news", "News", "report", ("a", "b"), ()),
        Domain("news", "News", "report", ("a", "b", "0", "1"), ()),
        Domain("news", "News", "report", ("ab",), ("0", "1")),
        Domain("news", "News", "report", ("a", "b"), ("0", "1"), ("c", "d")),
        Domain("news", "News", "report", ("a", "b"), ("0", "1"), ("d", "c")),
    ]
    assert len({domain.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)
    # Caches on disk are keyed by it: text that was read before pairs and notes existed keeps its fingerprint.
    assert domain.fingerprint == "bc01e2c19532e1edbf00ea861909de87"
    assert domain.fingerprint == Domain("news", "News", "report", ("a", "b"), ("0", "1"), (), ("A note.",)).fingerprint


def test_notes_are_not_compared():
    assert Domain("x", "X", "all", ("a",), ("0",), (), ("A note.",)) == Domain("x", "X", "all", ("a",), ("0",))


def test_overlap_ignores_case_and_white_space_and_gives_the_text_of_the_first():
    calibrate = Domain("x", "X", "calibrate", ("A  fine\nfilm", "bad", "a FINE film ", "new"), ())
    report = Domain("x", "X", "report", ("a fine film", "Bad", "other"), ())
    assert find_overlap(calibrate, report) == ("A  fine\nfilm", "bad")
    assert find_overlap(report, calibrate) == ("a fine film", "Bad")
    assert find_overlap(report, Domain("x", "X", "select", ("afine film", "badly"), ())) == ()


def test_overlap_of_pairs_needs_both_texts():
    a = Domain("x", "X", "calibrate", ("p", "q"), (), ("h", "i"))
    b = Domain("x", "X", "report", ("p", "q"), (), ("h", "other"))
    assert find_overlap(a, b) == ("p",)
    assert find_overlap(a, Domain("x", "X", "select", ("q", "p"), ())) == ("p", "q")


def test_an_overlap_is_described_with_its_number_and_the_first_text():
    calibrate = Domain("x", "X", "calibrate", ("one", "two", "three"), ())
    found = [describe_overlap(Domain("y", "Y", "report", texts, ()), calibrate) for texts in (("Two", "ONE"), ("Two",))]
    assert found[0] == "2 sentences of y (report) stand in x (calibrate) too, for example 'Two'."
    assert found[1] == "1 sentence of y (report) stands in x (calibrate) too, for example 'Two'."
    assert describe_overlap(Domain("y", "Y", "report", ("four",), ()), calibrate) is None


def test_repeated_examples_are_those_that_stood_further_up():
    domain = Domain("x", "X", "all", ("a b", "c", "A  b ", "c", "d"), ())
    assert find_duplicates(domain) == (2, 3)
    assert find_duplicates(Domain("x", "X", "all", ("p", "p", "p"), (), ("h", "i", "H"))) == (2,)


def test_labels_are_counted_most_frequent_first():
    domain = Domain("x", "X", "all", ("a",) * 6, ("b", "a", "c", "c", "b", "c"))
    assert list(count_labels(domain).items()) == [("c", 3), ("b", 2), ("a", 1)]
    assert count_labels(Domain("x", "X", "all", ("a",), ())) == {}


@pytest.mark.parametrize(
    ("labels", "names", "positions"),
    [
        (("1.0", "0.00", "1"), ("bad", "good"), (1, 0, 1)),
        (("1", "2"), ("2.0", "1.0"), (1, 0)),
        (("True", "false"), ("LABEL_0", "LABEL_1"), (1, 0)),
        (("True", "false"), ("true", "false"), (0, 1)),
        ((" Good ", "BAD"), ("bad", "good"), (1, 0)),
    ],
)
def test_labels_are_found_however_they_are_written(labels: Strings, names: Strings, positions: tuple[int, ...]):
    assert Domain("x", "X", "all", ("a",) * len(labels), labels).encode_labels(names) == positions


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (("good", "meh", "so-so"), ("the label 'meh', 'so-so', which", "It knows: bad, good.", "Rename the labels")),
        (("True", "false", "1"), ("the label 'True', 'false', which", "Rename the labels")),
        (("0.5", "3.25", "1e-3", "2.0e1", "-1.5"), ("'-1.5', '0.5', ", "(regression)", "choose another column")),
        (tuple(f"text {i:03}" for i in range(60)), ("'text 009' and 50 others", "60 different labels in 60 rows")),
        (tuple(f"{i}" for i in range(40)), ("'10'", "and 28 others", "38 different labels in 40 rows")),
        (("x" * 1_000_000,), (f"the label '{'x' * 80}', which", "Rename the labels")),
    ],
)
def test_labels_a_model_does_not_know_are_refused_with_both_sets_and_advice(labels: Strings, words: Strings):
    domain = Domain("news", "News", "all", ("a",) * len(labels), labels)
    with pytest.raises(DomainError, match="The domain news has the label") as error:
        domain.encode_labels(("bad", "good"))
    assert all(part in str(error.value) for part in words), str(error.value)
    assert len(str(error.value)) < 1000


def test_many_labels_that_a_model_knows_are_no_problem():
    names = tuple(f"intent {i}" for i in range(150))
    assert Domain("x", "X", "all", names, names).encode_labels(names) == tuple(range(150))
