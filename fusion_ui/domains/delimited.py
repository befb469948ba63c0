"""CSV and TSV files.

Rows are read with `csv` and not with pandas, which fills short rows with empty cells and so hides broken quoting.
"""

from __future__ import annotations

import csv
from io import StringIO
from itertools import chain
from pathlib import Path

from fusion_ui.domains.table import RowTable
from fusion_ui.domains.text_files import describe_format, open_text
from fusion_ui.errors import DomainError

ENDINGS = (".csv", ".tsv")
DELIMITERS = (",", ";", "\t", "|")
SAMPLE_CHARACTERS = 65536
POSITION_NOTE = "The first row is read as data, because columns are given by position."
QUOTES_NOTE = "Double quotes are read as ordinary characters, because otherwise rows would run over several lines."

# Follows the last line, so that a quote still open there swallows it and is noticed.
_END = "\x00end of file"


def read_delimited(path: Path, has_header: bool = True) -> RowTable:
    """Rows of text, separated by comma, semicolon, tab or vertical bar, whichever the file uses.

    Args:
        has_header: False reads the first row as data and calls the columns ``#1``, ``#2`` and so on.

    Raises:
        DomainError: a row has more or fewer fields than the first, a quote is never closed, or the encoding is wrong.
    """
    # csv keeps this limit for the whole process; 131,072 characters, its default, are too few for some texts.
    csv.field_size_limit(max(csv.field_size_limit(), path.stat().st_size))
    rows, notes = _read_rows(path, sniff_delimiter(path))
    if not has_header:
        positions = tuple(f"#{i + 1}" for i in range(len(rows[0])))
        return RowTable(positions, len(rows), (*notes, POSITION_NOTE), rows)
    return RowTable(tuple(name.strip() for name in rows[0]), len(rows) - 1, notes, rows[1:])


def sniff_delimiter(path: Path) -> str:
    """The delimiter that cuts the first row, and where there are several all rows alike; a file's ending decides last.

    Unlike `csv.Sniffer` this takes quoted line breaks and files of one column.
    """
    with open_text(path) as file:
        sample = file.read(SAMPLE_CHARACTERS)
    default = "\t" if path.suffix.lower() == ".tsv" else ","
    order = (default, *(delimiter for delimiter in DELIMITERS if delimiter != default))
    num_fields = {}
    for delimiter in order:
        rows = [row for row in csv.reader(StringIO(sample, newline=""), delimiter=delimiter) if row]
        was_cut = len(sample) == SAMPLE_CHARACTERS and len(rows) > 1
        num_fields[delimiter] = [len(row) for row in (rows[:-1] if was_cut else rows)]
    cutting = [delimiter for delimiter in order if num_fields[delimiter] and num_fields[delimiter][0] > 1]
    even = [delimiter for delimiter in cutting if len(set(num_fields[delimiter])) == 1]
    return (even or cutting or [default])[0]


def _read_rows(path: Path, delimiter: str) -> tuple[list[list[str]], tuple[str, ...]]:
    """All rows, and notes. A tab-separated file is often written without quoting, which shows in its lines."""
    try:
        rows, num_lines = _parse(path, delimiter, csv.QUOTE_MINIMAL)
        error = None
    except DomainError as failure:
        rows, num_lines, error = [], 0, failure
    if delimiter == "\t" and (error or num_lines > len(rows)):
        try:
            plain, _ = _parse(path, delimiter, csv.QUOTE_NONE)
        except DomainError:
            plain = [[]]
        if len(plain[0]) > 1 and plain != rows:
            return plain, (QUOTES_NOTE,)
    if error:
        raise error
    return rows, ()


def _parse(path: Path, delimiter: str, quoting: int) -> tuple[list[list[str]], int]:
    """Rows of equal length, blank lines left out, and the number of lines they take."""
    rows: list[list[str]] = []
    num_blank, line, num_lines = 0, 1, 0
    with open_text(path) as file:
        reader = csv.reader(chain(file, [_END]), delimiter=delimiter, quoting=quoting)  # pyright: ignore[reportArgumentType]
        for row in reader:
            if row == [_END]:
                break
            if row and row[-1].endswith(_END):
                reason = f"a double quote in the row that starts in line {line} is never closed"
                raise _unreadable(path, reason, delimiter)
            width = len(rows[0]) if rows else 0
            if not row or (len(row) == 1 and width != 1 and not row[0].strip()):
                num_blank += 1
            elif len(row) != width and rows:
                reason = f"line {line} has {len(row)} fields where the first row has {width}"
                raise _unreadable(path, reason, delimiter)
            else:
                rows.append(row)
            num_lines, line = reader.line_num, reader.line_num + 1
    if not rows:
        raise DomainError(f"{path} cannot be read as {describe_format(path)}: it is empty. Choose a file with rows.")
    return rows, num_lines - num_blank


def _unreadable(path: Path, reason: str, delimiter: str) -> DomainError:
    name = "tabs" if delimiter == "\t" else repr(delimiter)
    return DomainError(
        f"{path} cannot be read as {describe_format(path)}: {reason}. Correct that row: put texts that contain {name}, "
        f"quotes or line breaks in double quotes, and double the quotes inside them."
    )
