"""Data files become domains: every format gives the same, and what cannot be read is refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fusion_ui.domains.domain import Domain
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import DomainError

# Texts that a careless reader turns into numbers, missing values or dates.
TEXTS = ("fine, really", "NA", "", "1e5", "null", 'a "quoted" word', "2020-01-01", "naïve ☕", "True")
LABELS = ("positive", "negative", "0", "1", "NA", "positive", "1", "0", "negative")

WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    ".jsonl": lambda frame, path: path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in frame.to_dict("records")), encoding="utf-8"
    ),
    ".parquet": lambda frame, path: frame.to_parquet(path),
}


@pytest.mark.parametrize("ending", WRITERS)
def test_every_format_gives_the_same_text_and_labels(tmp_path: Path, ending: str):
    path = tmp_path / f"report{ending}"
    WRITERS[ending](pd.DataFrame({"id": range(len(TEXTS)), "text": TEXTS, "label": LABELS}), path)
    domain = load_domain(path, "news", title="News")
    assert domain == Domain("news", "News", "report", TEXTS, LABELS)
    assert load_domain(path, "news", label_column=None).labels == ()
    assert load_domain(path, "news", "label", "text").texts == LABELS


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
    ]
    assert len({domain.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)
