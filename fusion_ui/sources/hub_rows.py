"""Rows of Parquet, CSV, TSV and JSON files on the hub, read from the start and no further than asked."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fusion_ui.errors import DomainError
from fusion_ui.sources.hub_dataset import DatasetFiles
from fusion_ui.sources.hub_layout import DatasetLayout

MAX_LINE_BYTES = 16 << 20
MAX_JSON_BYTES = 64 << 20

Row = Mapping[str, Any]


def read_rows(files: DatasetFiles, path: str, columns: Sequence[str], limit: int) -> Iterator[Row]:
    """The rows of one file, of which no more is fetched than the first `limit` need.

    Raises:
        DomainError: a column does not exist, or the file cannot be read.
        SourceUnavailableError: the hub does not give it.
    """
    import pandas as pd
    import pyarrow as pa

    where = f"{path} of the dataset {files.repository}"
    plain = path.lower().removesuffix(".gz")
    try:
        with files.open_file(path) as raw, gzip.open(raw) if path.lower().endswith(".gz") else raw as file:
            if plain.endswith(".parquet"):
                yield from _read_parquet(file, where, columns, limit)
            elif plain.endswith((".csv", ".tsv")):
                separator = "\t" if plain.endswith(".tsv") else ","
                frame = pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, nrows=limit)
                _check_columns(where, columns, list(map(str, frame.columns)))
                for values in frame[list(columns)].itertuples(index=False, name=None):
                    yield dict(zip(columns, values, strict=True))
            else:
                yield from _read_json(file, where, columns, files.sizes[path])
    except (ValueError, EOFError, RecursionError, pa.ArrowException, pd.errors.ParserError, gzip.BadGzipFile) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
        raise DomainError(f"{where} cannot be read: {reason}. Choose another split or dataset.") from None


def _read_parquet(file: Any, where: str, columns: Sequence[str], limit: int) -> Iterator[Row]:
    import pyarrow.parquet as pq

    # Buffered, a column is fetched in parts; else all rows of a group would come, and one group may be the whole file.
    with pq.ParquetFile(file, buffer_size=1 << 17, pre_buffer=False) as opened:
        _check_columns(where, columns, opened.schema_arrow.names)
        for group in range(opened.num_row_groups):  # one after the other: the reader would look ahead
            batches = opened.iter_batches(
                min(limit, 1024), row_groups=[group], columns=list(dict.fromkeys(columns)), use_threads=False
            )
            for batch in batches:
                yield from batch.to_pylist()


def _read_json(file: Any, where: str, columns: Sequence[str], size: int) -> Iterator[Row]:
    """One object a line; or, in a file of moderate size, one array of objects."""
    lines = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)
    start = lines.peek(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"[":
        content = lines.read(MAX_JSON_BYTES + 1)
        if size > MAX_JSON_BYTES or len(content) > MAX_JSON_BYTES:
            raise DomainError(f"{where} is one JSON array of over {MAX_JSON_BYTES >> 20} MB. Use one object a line.")
        rows: Any = json.loads(content.decode("utf-8-sig"))
    else:
        rows = (json.loads(line) for line in _lines(lines, where) if line.strip())
    for row in rows:
        if not isinstance(row, dict):
            raise DomainError(f"{where} does not hold one JSON object for each row. Choose another dataset.")
        _check_columns(where, columns, list(map(str, row)))
        yield row


def _lines(file: io.BufferedReader, where: str) -> Iterator[str]:
    while line := file.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES:
            raise DomainError(f"{where} has a line of over {MAX_LINE_BYTES >> 20} MB. Choose another dataset.")
        yield line.decode("utf-8-sig")


def _check_columns(where: str, columns: Sequence[str], existing: Sequence[str]) -> None:
    for column in columns:
        if column not in existing:
            raise DomainError(f"{where} has no column {column[:80]!r}. Its columns are: {', '.join(existing)[:300]}.")


def find_class_names(layout: DatasetLayout, config: str, column: str, path: str) -> tuple[str, ...] | None:
    """The names of a column's classes by number: from a Parquet file's own schema, else from the card."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.endswith(".parquet"):
        try:
            with layout.files.open_file(path) as file:
                metadata = pq.read_schema(file).metadata or {}
            features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
            return tuple(map(str, features[column]["names"]))
        except (KeyError, TypeError, ValueError, pa.ArrowException):
            pass  # not written by `datasets`, or not a class
    infos = layout.card.get("dataset_info")
    for info in infos if isinstance(infos, list) else [infos]:
        if not isinstance(info, dict) or str(info.get("config_name", config)) != config:
            continue
        for feature in info.get("features") or ():
            try:
                names = feature["dtype"]["class_label"]["names"] if feature["name"] == column else None
            except (KeyError, TypeError):
                continue
            if isinstance(names, dict):  # number, as text -> name
                names = [name for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
            if isinstance(names, list):
                return tuple(map(str, names))
    return None
