"""Rows of Parquet, CSV, TSV and JSON files on the hub, read in blocks and no further than asked."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fusion_ui.errors import DomainError
from fusion_ui.sources.hub_block import ROWS_AT_ONCE, Block, Row, check_columns, naming_damage
from fusion_ui.sources.hub_dataset import DatasetFiles
from fusion_ui.sources.hub_parquet import open_parquet, parquet_blocks

MAX_LINE_BYTES = 16 << 20
MAX_JSON_BYTES = 64 << 20


def read_rows(files: DatasetFiles, path: str, columns: Sequence[str] | None) -> Iterator[Row]:
    """The rows of one file from the first on, fetched as they are asked for.

    Args:
        columns: None: all.

    Raises:
        DomainError: a column does not exist, or the file cannot be read.
        SourceUnavailableError: the hub does not give it.
    """
    with open_blocks(files, path, columns) as blocks:
        for block in blocks:
            yield from block.rows


@contextmanager
def open_blocks(files: DatasetFiles, path: str, columns: Sequence[str] | None) -> Iterator[list[Block]]:
    """The blocks of one file, open while the `with` block runs.

    Raises:
        DomainError, SourceUnavailableError: as `read_rows`, also when that shows only while reading.
    """
    where = f"{path} of the dataset {files.repository}"
    is_packed, plain = path.lower().endswith(".gz"), path.lower().removesuffix(".gz")
    with naming_damage(where), files.open_file(path) as raw, gzip.open(raw) if is_packed else raw as file:
        if plain.endswith(".parquet"):
            with open_parquet(raw) as opened:
                yield parquet_blocks(opened, where, columns)
        elif plain.endswith((".csv", ".tsv")):
            yield [Block(None, _read_delimited(file, where, columns, plain[-4:]), file.tell)]
        else:
            yield [_json_block(file, where, columns, files.sizes[path])]


def _read_delimited(file: Any, where: str, columns: Sequence[str] | None, ending: str) -> Iterator[Row]:
    import pandas as pd

    separator = "\t" if ending == ".tsv" else ","
    with pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, chunksize=ROWS_AT_ONCE) as parts:
        for part in parts:
            names = list(map(str, part.columns))
            check_columns(where, columns or (), names)
            part.columns = names
            chosen = list(names if columns is None else columns)
            for values in part[chosen].itertuples(index=False, name=None):
                yield dict(zip(chosen, values, strict=True))


def _json_block(file: Any, where: str, columns: Sequence[str] | None, size: int) -> Block:
    """One object a line; or, in a file of moderate size, one array of objects."""
    lines = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)
    start = lines.peek(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"[":
        content = lines.read(MAX_JSON_BYTES + 1)
        if size > MAX_JSON_BYTES or len(content) > MAX_JSON_BYTES:
            raise DomainError(f"{where} is one JSON array of over {MAX_JSON_BYTES >> 20} MB. Use one object a line.")
        rows = json.loads(content.decode("utf-8-sig"))
        return Block(len(rows), _check_rows(rows, where, columns), lambda: 0)
    rows = (json.loads(line) for line in _lines(lines, where) if line.strip())
    return Block(None, _check_rows(rows, where, columns), lines.tell)


def _check_rows(rows: Iterable[Any], where: str, columns: Sequence[str] | None) -> Iterator[Row]:
    for row in rows:
        if not isinstance(row, dict):
            raise DomainError(f"{where} does not hold one JSON object for each row. Choose another dataset.")
        check_columns(where, columns or (), list(map(str, row)))
        yield row


def _lines(file: io.BufferedReader, where: str) -> Iterator[str]:
    while line := file.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES:
            raise DomainError(f"{where} has a line of over {MAX_LINE_BYTES >> 20} MB. Choose another dataset.")
        yield line.decode("utf-8-sig")
