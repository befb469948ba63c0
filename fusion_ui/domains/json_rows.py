"""JSONL files, and JSON files that hold an array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from fusion_ui.domains.cells import replace_surrogates
from fusion_ui.domains.table import RowTable
from fusion_ui.domains.text_files import describe_format, open_text
from fusion_ui.errors import DomainError


def read_json(path: Path) -> RowTable:
    """One row an object: objects on lines of their own, or in one array. A key that an object lacks is an empty cell.

    Raises:
        DomainError: a line is not JSON, or something else than objects is in the file.
    """
    with open_text(path) as file:
        is_array = file.read(4096).lstrip().startswith("[")
        file.seek(0)
        records = list(_read_array(path, file) if is_array else _read_lines(path, file))
    if not records:
        raise DomainError(f"{path} has no rows. Add one JSON object for each row.")
    keys = tuple(dict.fromkeys(key for record in records for key in record))
    rows = [tuple(record.get(key) for key in keys) for record in records]
    return RowTable(tuple(map(replace_surrogates, keys)), len(rows), (), rows)


def _read_lines(path: Path, file: TextIO) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield _as_object(path, _parse(path, line, f"line {number}"), f"line {number}")


def _read_array(path: Path, file: TextIO) -> Iterator[dict[str, Any]]:
    for number, entry in enumerate(_parse(path, file.read(), "the array"), start=1):
        yield _as_object(path, entry, f"entry {number}")


def _parse(path: Path, text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f", its line {error.lineno}" if error.lineno > 1 else ""
        raise _unreadable(path, f"{where}{line}, column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # a number of too many digits; brackets nested too deep
        raise _unreadable(path, f"{where}: {error}") from None


def _as_object(path: Path, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unreadable(path, f"{where} is a JSON {type(value).__name__} and not an object")
    return value


def _unreadable(path: Path, reason: str) -> DomainError:
    return DomainError(
        f"{path} cannot be read as {describe_format(path)}: {reason}. "
        f'Write one object such as {{"text": "...", "label": "..."}} on each line, or one array of such objects.'
    )
