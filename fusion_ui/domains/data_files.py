"""A data file of any format becomes a table."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fusion_ui.domains import conll, delimited
from fusion_ui.domains.conll import read_conll
from fusion_ui.domains.delimited import read_delimited
from fusion_ui.domains.json_rows import read_json
from fusion_ui.domains.parquet import read_parquet
from fusion_ui.domains.table import Table
from fusion_ui.domains.text_files import describe_format
from fusion_ui.errors import DomainError

# Rows of text files are held in memory, where they take several times their size in the file.
MAX_BYTES = 512 * 1024**2

READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".jsonl": read_json,
    ".parquet": read_parquet,
    ".json": read_json,
    ".ndjson": read_json,
    **dict.fromkeys(conll.ENDINGS, read_conll),
}


def is_delimited(path: Path) -> bool:
    """True for a file that may lack a row of column names."""
    return path.suffix.lower() in delimited.ENDINGS


def read_table(path: Path, has_header: bool = True) -> Table:
    """Read a CSV, TSV, JSONL, JSON, Parquet or CoNLL file of at most `MAX_BYTES` bytes.

    Args:
        has_header: False for a CSV or TSV file whose first row is data; its columns are then ``#1``, ``#2`` and so on.

    Raises:
        DomainError: the file is missing, too large, empty or unreadable, or its ending is unknown.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DomainError(f"{path} has an unknown ending. Give a file that ends in {', '.join(READERS)}.")
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises on a name that is too long
        raise DomainError(f"The data file {path} does not exist. Check the path.")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DomainError(
                f"{path} is too large: it has {size:,} bytes, and at most {MAX_BYTES:,} are read. "
                f"Keep fewer rows; a few thousand are enough for statistics and scores."
            )
        if not size:
            raise DomainError(
                f"{path} cannot be read as {describe_format(path)}: it is empty. Choose a file with rows."
            )
        if is_delimited(path):
            return read_delimited(path, has_header)
        return reader(path)
    except OSError as error:
        raise DomainError(f"{path} cannot be read: {error.strerror or error}. Check its permissions.") from None
