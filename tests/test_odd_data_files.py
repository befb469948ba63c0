"""Odd data files give exactly their text and labels, broken ones a sentence: what, where, and what to do."""

# ruff: noqa: E501 - one file a line

from __future__ import annotations

import contextlib
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusion_ui.domains import data_files
from fusion_ui.domains.columns import preview
from fusion_ui.domains.data_files import read_table
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import DomainError

FINE_BAD = (("fine", "bad"), ("1", "0"))
LONG = "word " * 200_000
Columns = dict[str, Any]


def jsonl(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(*columns: tuple[str, Any]) -> bytes:
    """Columns one by one, since a frame cannot hold every type or a name twice."""
    buffer = io.BytesIO()
    pq.write_table(pa.table([pa.array(c) for _, c in columns], names=[name for name, _ in columns]), buffer)
    return buffer.getvalue()


SAME_AS_PLAIN = {
    "semicolons": ("a.csv", b"text;label\nfine;1\nbad;0\n", {}),
    "tabs in .csv": ("a.csv", b"text\tlabel\nfine\t1\nbad\t0\n", {}),
    "bars": ("a.csv", b"text|label\nfine|1\nbad|0\n", {}),
    "commas in .tsv": ("a.tsv", b"text,label\nfine,1\nbad,0\n", {}),
    "byte order mark": ("a.csv", b"\xef\xbb\xbftext,label\nfine,1\nbad,0\n", {}),
    "byte order mark in JSONL": ("a.jsonl", b"\xef\xbb\xbf" + jsonl({"text": "fine", "label": 1}, {"text": "bad", "label": 0}), {}),
    "UTF-16": ("a.csv", "text,label\nfine,1\nbad,0\n".encode("utf-16"), {}),
    "UTF-16 big end first": ("a.tsv", b"\xfe\xff" + "text\tlabel\nfine\t1\nbad\t0\n".encode("utf-16-be"), {}),
    "UTF-16 in JSON": ("a.json", '[{"text":"fine","label":1},{"text":"bad","label":"0"}]'.encode("utf-16"), {}),
    "UTF-32": ("a.csv", "text,label\nfine,1\nbad,0\n".encode("utf-32"), {}),
    "Windows line ends": ("a.csv", b"text,label\r\nfine,1\r\nbad,0\r\n", {}),
    "old Mac line ends": ("a.csv", b"text,label\rfine,1\rbad,0", {}),
    "blank lines": ("a.csv", b"\n \ntext,label\n\nfine,1\n   \nbad,0\n\n\n", {}),
    "blank lines in JSONL": ("a.jsonl", b'\n{"text":"fine","label":1}\n\n{"text":"bad","label":0}\n\n', {}),
    "no last line end": ("a.csv", b"text,label\nfine,1\nbad,0", {}),
    "spaces around names and labels": ("a.csv", b"text , label\nfine, 1 \nbad,0\n", {}),
    "everything quoted": ("a.csv", b'"text","label"\n"fine","1"\n"bad","0"\n', {}),
    "other column twice": ("a.csv", b"x,text,x,label\n,fine,,1\n,bad,,0\n", {}),
    "pandas index": ("a.csv", b",text,label\n0,fine,1\n1,bad,0\n", {}),
    "whole floats in CSV": ("a.csv", b"text,label\nfine,1.0\nbad,0.00\n", {}),
    "mixed types": ("a.jsonl", jsonl({"text": "fine", "label": 1.0}, {"text": "bad", "label": "0"}), {}),
    "floats in Parquet": ("a.parquet", parquet(("text", ["fine", "bad"]), ("label", [1.0, 0.0])), {}),
    "bytes in Parquet": ("a.parquet", parquet(("text", [b"fine", b"bad"]), ("label", [b"1", b"0"])), {}),
    "categories in Parquet": ("a.parquet", parquet(("text", ["fine", "bad"]), ("label", pa.array(["1", "0"]).dictionary_encode())), {}),
    "dot in a Parquet name": ("a.parquet", parquet(("a.text", ["fine", "bad"]), ("a", [{"text": "x"}] * 2), ("label", [1, 0])), {"text_column": "a.text"}),
    "other Parquet column twice": ("a.parquet", parquet(("x", [1, 2]), ("x", [3, 4]), ("text", ["fine", "bad"]), ("label", [1, 0])), {}),
    "lines in .json": ("a.json", b'{"text":"fine","label":1}\n{"text":"bad","label":0}\n', {}),
    "array in .jsonl": ("a.jsonl", b' [\n{"text":"fine","label":1},\n{"text":"bad","label":0}\n]\n', {}),
    "keys in another order": ("a.jsonl", jsonl({"text": "fine", "label": 1}, {"label": 0, "new": 1, "text": "bad"}), {}),
    "no names, by position": ("a.csv", b"fine,1\nbad,0\n", {"text_column": "#1", "label_column": "#2"}),
    "no names, semicolons": ("a.csv", b"1;fine\n0;bad\n", {"text_column": "#2", "label_column": "#1"}),
    "a name that looks like a position": ("a.csv", b"#2,#1\nfine,1\nbad,0\n", {"text_column": "#2", "label_column": "#1"}),
    "ending in capitals": ("a.JSON", b'[{"text":"fine","label":1},{"text":"bad","label":0}]', {}),
}  # fmt: skip


@pytest.mark.parametrize("case", SAME_AS_PLAIN)
def test_other_spellings_give_the_same(tmp_path: Path, case: str):
    name, content, columns = SAME_AS_PLAIN[case]
    domain = load_domain(write(tmp_path, name, content), "x", **columns)
    assert (domain.texts, domain.labels) == FINE_BAD
    assert domain.notes == (
        ("The first row is read as data, because columns are given by position.",) if "no names" in case else ()
    )


UNUSUAL: dict[str, tuple[str, bytes, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "a million characters": ("a.csv", f"text,label\n{LONG},1\nb,0\n".encode(), (LONG, "b"), ("1", "0"), ()),
    "a million characters, quoted": ("a.tsv", f'text\tlabel\n"{LONG}"\t1\nb\t0\n'.encode(), (LONG, "b"), ("1", "0"), ()),
    "a million characters in JSONL": ("a.jsonl", jsonl({"text": LONG, "label": 1}), (LONG,), ("1",), ("Every row has the label '1'.",)),
    "HTML label": ("a.csv", b"text,label\nfine,<b>1</b>\nbad,<script>x</script>\n", ("fine", "bad"), ("<b>1</b>", "<script>x</script>"), ()),
    "line break in a quoted text": ("a.csv", b'text,label\n"fi\nne, really",1\nbad,0\n', ("fi\nne, really", "bad"), ("1", "0"), ()),
    "line break in a quoted text, tabs": ("a.tsv", b'text\tlabel\n"fi\nne\tx"\t1\nbad\t0\n', ("fi\nne\tx", "bad"), ("1", "0"), ()),
    "commas in semicolon file": ("a.csv", b"text;label\na, b, c;1\nd, e, f;0\n", ("a, b, c", "d, e, f"), ("1", "0"), ()),
    "semicolons in comma file": ("a.csv", b"text,label\na; b,1\nc; d,0\n", ("a; b", "c; d"), ("1", "0"), ()),
    "Windows line break in a text": ("a.csv", b'text,label\r\n"fi\r\nne",1\r\nbad,0\r\n', ("fi\r\nne", "bad"), ("1", "0"), ()),
    "decimal comma": ("a.csv", b'text;label\n"a";1,5\n"b";2\n', ("a", "b"), ("1,5", "2"), ()),
    "bare quotes between tabs": (
        "a.tsv", b'text\tlabel\n"Fine\t1\nbad" x\t0\n', ('"Fine', 'bad" x'), ("1", "0"),
        ("Double quotes are read as ordinary characters, because otherwise rows would run over several lines.",),
    ),
    "one bare quote between tabs": (
        "a.tsv", b'text\tlabel\n"Fine\t1\nbad\t0\n', ('"Fine', "bad"), ("1", "0"),
        ("Double quotes are read as ordinary characters, because otherwise rows would run over several lines.",),
    ),
    "zero byte": ("a.csv", b"text,label\nfi\x00ne,1\nbad,0\n", ("fi\x00ne", "bad"), ("1", "0"), ()),
    "line separator of Unicode": ("a.csv", "text,label\na\u2028b\x85c\x0bd,1\ne,0\n".encode(), ("a\u2028b\x85c\x0bd", "e"), ("1", "0"), ()),
    "half a character": ("a.jsonl", b'{"text": "a \\ud83d", "label": "x\\udc00"}\n{"text": "b \\ud83d\\ude00", "label": 0}\n', ("a \ufffd", "b \U0001f600"), ("x\ufffd", "0"), ()),
    "blank cells": (
        "a.csv", b'text,label\nfine,1\n,0\n"  ",1\nbad,\n,\nbad,0\n', ("fine", "bad"), ("1", "0"),
        ("4 of 6 rows are left out: 3 without 'text', 2 without 'label'.",),
    ),
    "null and NaN": (
        "a.jsonl", b'{"text":"fine","label":1}\n{"text":null,"label":1}\n{"text":"x","label":NaN}\n{"text":"y"}\n{"text":"bad","label":0}\n',
        ("fine", "bad"), ("1", "0"), ("3 of 5 rows are left out: 1 without 'text', 2 without 'label'.",),
    ),
    "null in Parquet": (
        "a.parquet", parquet(("text", ["fine", None, "x", "y", "bad"]), ("label", [1.0, 1.0, None, float("nan"), 0.0])),
        ("fine", "bad"), ("1", "0"), ("3 of 5 rows are left out: 1 without 'text', 2 without 'label'.",),
    ),
    "words for nothing are words": ("a.csv", b"text,label\nNA,null\nnan,None\n", ("NA", "nan"), ("null", "None"), ()),
    "one class": ("a.csv", b"text,label\nfine,1\nbad,1\n", ("fine", "bad"), ("1", "1"), ("Every row has the label '1'.",)),
    "booleans": ("a.jsonl", b'{"text":"a","label":true}\n{"text":"b","label":false}\n', ("a", "b"), ("True", "False"), ()),
    "numbers as text": ("a.jsonl", b'{"text":5,"label":2.50}\n{"text":1.0,"label":-1.0}\n', ("5", "1.0"), ("2.5", "-1"), ()),
    "a large whole number": ("a.parquet", parquet(("text", ["a", "b"]), ("label", [2**62 + 1, None])), ("a",), (str(2**62 + 1),), ("1 of 2 rows are left out: 1 without 'label'.", f"Every row has the label '{2**62 + 1}'.")),
    "spaces in a text": ("a.csv", b"text,label\n  fine ,1\nbad,0\n", ("  fine ", "bad"), ("1", "0"), ()),
    "empty trailing rows of a sheet": ("a.csv", b"text,label\nfine,1\nbad,0\n,\n,\n", ("fine", "bad"), ("1", "0"), ("2 of 4 rows are left out: 2 without 'text', 2 without 'label'.",)),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSUAL)
def test_unusual_content_is_kept_or_counted(tmp_path: Path, case: str):
    name, content, texts, labels, notes = UNUSUAL[case]
    domain = load_domain(write(tmp_path, name, content), "x")
    assert domain.texts == texts
    assert (domain.labels, domain.notes) == (labels, notes)


def test_one_column_is_enough_without_labels(tmp_path: Path):
    path = write(tmp_path, "a.csv", b'text\nfine\n"b, ad"\n""\n')
    domain = load_domain(path, "x", label_column=None)
    assert (domain.texts, domain.labels) == (("fine", "b, ad"), ())
    assert domain.notes == ("1 of 3 rows are left out: 1 without 'text'.",)


def test_a_row_needs_both_texts_of_a_pair(tmp_path: Path):
    path = write(tmp_path, "a.csv", b"premise,hypothesis,label\np,h,1\nq,,0\n,i,0\nr,j,0\n")
    domain = load_domain(path, "x", "premise", pair_column="hypothesis")
    assert (domain.texts, domain.pairs, domain.labels) == (("p", "r"), ("h", "j"), ("1", "0"))
    assert domain.notes == ("2 of 4 rows are left out: 1 without 'premise', 1 without 'hypothesis'.",)


REFUSED: dict[str, tuple[str, bytes | None, Columns, tuple[str, ...]]] = {
    "missing": ("a.csv", None, {}, ("does not exist", "Check the path")),
    "a name that is too long": ("a" * 300 + ".csv", None, {}, ("does not exist", "Check the path")),
    "ending": ("a.xlsx", b"x", {}, ("unknown ending", "Give a file that ends in .csv, .tsv")),
    "empty": ("a.tsv", b"", {}, ("cannot be read as TSV: it is empty", "Choose a file")),
    "empty JSONL": ("a.jsonl", b"", {}, ("cannot be read as JSONL: it is empty", "Choose a file")),
    "empty Parquet": ("a.parquet", b"", {}, ("cannot be read as PARQUET: it is empty", "Choose a file")),
    "blank": ("a.csv", b"\n \n", {}, ("cannot be read as CSV: it is empty", "Choose a file")),
    "blank JSONL": ("a.jsonl", b"\n \n", {}, ("has no rows", "Add one JSON object")),
    "empty array": ("a.json", b"[]", {}, ("has no rows", "Add one JSON object")),
    "only a byte order mark": ("a.csv", b"\xef\xbb\xbf", {}, ("it is empty", "Choose a file")),
    "names only": ("a.csv", b"text,label\n", {}, ("has no rows", "Add rows")),
    "no rows in Parquet": ("a.parquet", parquet(("text", pa.array([], pa.string())), ("label", pa.array([], pa.int64()))), {}, ("has no rows", "Add rows")),
    "Latin-1": ("a.csv", "text,label\nfine,1\ncafé,0\n".encode("latin-1"), {}, ("not valid UTF-8 (byte 0xe9 in line 3", "Save it as UTF-8")),
    "Latin-1 far down": ("a.csv", b"text,label\n" + b"fine,1\n" * 50_000 + b"caf\xe9,0\n", {}, ("byte 0xe9 in line 50002", "Save it as UTF-8")),
    "Latin-1 in JSONL": ("a.jsonl", b'{"text":"caf\xe9","label":1}', {}, ("not valid UTF-8 (byte 0xe9 in line 1", "Save it as UTF-8")),
    "cut UTF-16": ("a.csv", "text,label\nfine,1\n".encode("utf-16")[:-1], {}, ("not valid UTF-16 (truncated data)", "Save it as UTF-8")),
    "UTF-16 without a mark": ("a.csv", "text,label\nfine,1\n".encode("utf-16-le"), {}, ("UTF-16 without a byte order mark", "Save it as UTF-8")),
    "Excel as CSV": ("a.csv", b"PK\x03\x04\x14\x00\x06\x00", {}, ("a ZIP or Excel file", "save the sheet as CSV")),
    "gzip": ("a.csv", gzip.compress(b"text,label\n"), {}, ("compressed with gzip", "Unpack it")),
    "web page": ("a.csv", b"<!DOCTYPE html><html>", {}, ("a web page", "Download the file itself")),
    "Git LFS pointer": ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\n", {}, ("Git LFS pointer", "git lfs pull")),
    "Parquet as CSV": ("a.csv", parquet(("text", ["a"])), {}, ("a Parquet file", "ends in .parquet")),
    "CSV as Parquet": ("a.parquet", b"text,label\nfine,1\n", {}, ("cannot be read as PARQUET", "write the file again")),
    "cut Parquet": ("a.parquet", parquet(("text", ["a"]))[:-9], {}, ("cannot be read as PARQUET", "write the file again")),
    "row too long": ("a.csv", b"text,label\nfine,1\nfine, really,1\n", {}, ("line 3 has 3 fields where the first row has 2", "in double quotes")),
    "row too short": ("a.csv", b'text,label\n"fi\nne",1\n\nbad\n', {}, ("line 5 has 1 fields where the first row has 2", "in double quotes")),
    "row too short between tabs": ("a.tsv", b"text\tlabel\nfine\t1\nbad\n", {}, ("line 3 has 1 fields", "tabs", "in double quotes")),
    "open quote": ("a.csv", b'text,label\nfine,1\n"bad,0\nbad,0\n', {}, ("a double quote in the row that starts in line 3 is never closed", "double the quotes")),
    "open quote at the end": ("a.csv", b'text,label\nfine,"1', {}, ("line 2 is never closed", "double the quotes")),
    "other names": ("a.csv", b"sentence,sentiment\nfine,1\n", {}, ("no column 'text'. Its columns are: sentence, sentiment", "Choose one of them")),
    "line break in a name": ("a.csv", b'"se\nntence",label\nfine,1\n', {}, ("Its columns are: se?ntence, label", "Choose one of them")),
    "half a character in a name": ("a.jsonl", b'{"te\\ud83dxt": "a", "label": 1}', {}, ("Its columns are: te\ufffdxt, label", "Choose one of them")),
    "no label": ("a.jsonl", jsonl({"text": "a"}), {}, ("no column 'label'. Its columns are: text", "Choose one of them")),
    "no pair": ("a.csv", b"text,label\na,1\n", {"pair_column": "text2"}, ("no column 'text2'", "Choose one of them")),
    "no names": ("a.csv", b"a fine film,good\ndull,bad\ngreat,good\na bore,bad\n", {}, ("first row looks like data", "a fine film, good", "Write a row of names", "#1 to #2")),
    "no names but numbers": ("a.tsv", b"a fine film\t1\n", {}, ("first row looks like data", "Write a row of names", "#1 to #2")),
    "position past the end": ("a.csv", b"fine,1\nbad,0\n", {"text_column": "#1", "label_column": "#3"}, ("no column '#3'. Its columns are: #1, #2", "Choose one")),
    "position and name": ("a.csv", b"fine,1\nbad,0\n", {"text_column": "#1"}, ("no column 'label'. Its columns are: #1, #2", "Choose one")),
    "position in JSONL": ("a.jsonl", jsonl({"text": "a", "label": 1}), {"text_column": "#1"}, ("no column '#1'. Its columns are: text, label", "Choose one")),
    "column twice": ("a.csv", b"text,label,text\na,1,b\n", {}, ("several columns named 'text', at the positions 1 and 3", "Rename")),
    "column twice in Parquet": ("a.parquet", parquet(("text", ["a"]), ("label", [1]), ("label", [2])), {}, ("several columns named 'label', at the positions 2 and 3", "Rename")),
    "all labels gone": ("a.csv", b"text,label\na,\nb,\n", {}, ("no row with a value in 'text' and 'label': of 2 rows, 2 without 'label'", "Fill the cells")),
    "all rows half empty": ("a.csv", b"text,label\na,\n,1\n", {}, ("1 without 'text', 1 without 'label'", "Fill the cells")),
    "all text gone": ("a.jsonl", jsonl({"text": None, "label": 1}), {"label_column": None}, ("no row with a value in 'text': of 1 rows, 1 without 'text'", "Fill the cells")),
    "lists in a list as label": ("a.jsonl", jsonl({"text": "a", "label": 1}, {"text": "b", "label": [[1], 2]}), {}, ("a list with more than texts and numbers in the column 'label' of row 2: [[1], 2]", "Write one text or number")),
    "object as label": ("a.json", b'[{"text":"a","label":{"x":1}}]', {}, ("a dict in the column 'label' of row 1: {'x': 1}", "Write one text or number")),
    "lists in a list as text": ("a.parquet", parquet(("text", [[["a"], ["b"]]]), ("label", [1])), {}, ("a list with more than texts and numbers in the column 'text' of row 1: [['a'], ['b']]", "choose another column")),
    "empty list as text": ("a.jsonl", jsonl({"text": [], "label": ["O"]}), {}, ("has no row with a value in", "1 without 'text'")),
    "bytes in a list": ("a.parquet", parquet(("text", [[b"\xff"]]), ("label", [[1]])), {}, ("bytes that are not UTF-8 text in the column 'text' of row 1", "Choose a column of text")),
    "picture as text": ("a.parquet", parquet(("text", [b"ok", b"\xff\xd8"]), ("label", [1, 0])), {}, ("bytes that are not UTF-8 text in the column 'text' of row 2", "Choose a column of text")),
    "line that is no JSON": ("a.jsonl", b'{"text":"a","label":1}\n\n{"text":"b",}\n', {}, ("cannot be read as JSONL: line 3, column 13", "on each line")),
    "object over several lines": ("a.json", b'{\n"text": "a",\n"label": 1\n}\n', {}, ("cannot be read as JSON: line 1", "one array of such objects")),
    "cut array": ("a.json", b'[{"text":"a","label":1},\n{"text":', {}, ("the array, its line 2, column 9", "one array of such objects")),
    "array of lists": ("a.json", b'[["a", 1]]', {}, ("entry 1 is a JSON list and not an object", "Write one object")),
    "lines of texts": ("a.jsonl", b'{"text":"a","label":1}\n"b"\n', {}, ("line 2 is a JSON str and not an object", "Write one object")),
    "brackets too deep": ("a.json", b"[" * 200_000, {}, ("the array: ", "recursion", "Write one object")),
    "number too long": ("a.jsonl", b'{"text":"a","label":' + b"9" * 5000 + b"}", {}, ("line 1: ", "Write one object")),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_broken_files_are_refused_with_file_reason_and_remedy(tmp_path: Path, case: str):
    name, content, columns, words = REFUSED[case]
    path = write(tmp_path, name, content)
    with pytest.raises(DomainError) as error:
        load_domain(path, "x", **columns)
    message = str(error.value)
    assert str(path) in message
    assert [part for part in words if part not in message] == [], message
    assert message.endswith((".", "#2.")) and "\n" not in message and len(message) < 1000 + len(str(path))


def test_without_names_the_delimiter_is_the_one_that_cuts_all_rows_alike(tmp_path: Path):
    path = write(tmp_path, "a.csv", b"fine, really;1\nbad;0\n")
    assert load_domain(path, "x", "#1", "#2").texts == ("fine, really", "bad")


def test_cells_of_two_columns_with_one_name_are_told_apart(tmp_path: Path):
    table = read_table(write(tmp_path, "a.parquet", parquet(("text", ["a"]), ("text", ["b"]))))
    assert [list(table.column(position)) for position in (0, 1)] == [["a"], ["b"]]


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path, "a.csv", b"text,label\nfine,1\nbad,0\n")
    monkeypatch.setattr(data_files, "MAX_BYTES", path.stat().st_size)
    assert load_domain(path, "x").texts == ("fine", "bad")
    monkeypatch.setattr(data_files, "MAX_BYTES", path.stat().st_size - 1)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("the file was opened"))
    with pytest.raises(
        DomainError, match=r"a\.csv is too large: it has 24 bytes, and at most 23 are read\. Keep fewer"
    ):
        load_domain(path, "x")


def test_a_directory_is_no_data_file(tmp_path: Path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(DomainError, match=r"a\.csv does not exist"):
        load_domain(tmp_path / "a.csv", "x")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_no_damage_escapes_as_another_error(tmp_path: Path, ending: str):
    """Each file is cut and one of its bytes changed at many places: it loads, or is refused with its name."""
    frame = pd.DataFrame({"text": ['a "b", c', "d\ne", "é☕", "f\tg"], "label": ["x", "y", "x", "y"]})
    path = tmp_path / f"a{ending}"
    {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        ".json": lambda: frame.to_json(path, orient="records"),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".parquet": lambda: frame.to_parquet(path),
    }[ending]()
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        for broken in (whole[:place], *(whole[:place] + bytes([b]) + whole[place + 1 :] for b in (0, 0xFF, 0x22))):
            path.write_bytes(broken)
            try:
                assert load_domain(path, "x").texts
            except DomainError as error:
                refused += 1
                assert str(path) in str(error)
            with contextlib.suppress(DomainError):
                assert preview(path).columns
    assert refused > 20


def write(directory: Path, name: str, content: bytes | None) -> Path:
    path = directory / name
    if content is not None:
        path.write_bytes(content)
    return path
