"""Parquet files on the hub: their schema, and their row groups, each fetched in parts when its rows are asked for."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fusion_ui.sources.hub_block import ROWS_AT_ONCE, Block, Row, check_columns, naming_damage
from fusion_ui.sources.hub_dataset import DatasetFiles

PART_BYTES = 1 << 19
"""Of one column, fetched at once: a page of text has about that size."""


@dataclass(frozen=True)
class ParquetSchema:
    """What a Parquet file says of itself before any row is read.

    Attributes:
        columns: all but those that hold bytes or structures; lists of texts or numbers are among them.
        class_names: column -> the names of its classes by number, where the library `datasets` wrote them.
    """

    columns: tuple[str, ...]
    num_rows: int
    class_names: Mapping[str, tuple[str, ...]]


def read_schema(files: DatasetFiles, path: str) -> ParquetSchema | None:
    """The schema of a Parquet file; None for a file of another format.

    Raises:
        DomainError: the file cannot be read.
        SourceUnavailableError: the hub does not give it.
    """
    from pyarrow import types

    if not path.lower().endswith(".parquet"):
        return None
    where = f"{path} of the dataset {files.repository}"
    with naming_damage(where), files.open_file(path) as file, open_parquet(file) as opened:
        schema, num_rows = opened.schema_arrow, opened.metadata.num_rows
    others = (types.is_nested, types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    cells = {f.name: f.type.value_type if any(is_list(f.type) for is_list in lists) else f.type for f in schema}
    columns = tuple(name for name, kind in cells.items() if not any(is_other(kind) for is_other in others))
    return ParquetSchema(columns, num_rows, _class_names((schema.metadata or {}).get(b"huggingface", b"{}")))


def open_parquet(file: io.BufferedReader) -> Any:
    """A `pyarrow.parquet.ParquetFile` that fetches no more than the rows read from it need."""
    import pyarrow.parquet as pq

    # Unbuffered by Python, which would fetch what lies behind a column; buffered by the reader, which would else
    # fetch all rows of a group, and one group may be the whole file.
    return pq.ParquetFile(file.raw, buffer_size=PART_BYTES, pre_buffer=False)


def parquet_blocks(opened: Any, where: str, columns: Sequence[str] | None) -> list[Block]:
    """The row groups of an open file, with those columns, or all.

    Raises:
        DomainError: a column does not exist.
    """
    names = opened.schema_arrow.names
    check_columns(where, columns or (), names)
    chosen = list(dict.fromkeys(names if columns is None else columns))
    return [_parquet_block(opened, group, chosen) for group in range(opened.num_row_groups)]


def _parquet_block(opened: Any, group: int, columns: list[str]) -> Block:
    num_rows, num_done, num_bytes = opened.metadata.row_group(group).num_rows, 0, 0

    def read() -> Iterator[Row]:
        nonlocal num_done, num_bytes
        about = opened.metadata.row_group(group)
        parts = [about.column(i) for i in range(about.num_columns)]
        num_bytes = sum(part.total_compressed_size for part in parts if part.path_in_schema.split(".")[0] in columns)
        # One group after the other: the reader would look ahead.
        for batch in opened.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=columns, use_threads=False):
            num_done += len(batch)
            yield from batch.to_pylist()

    return Block(num_rows, read(), lambda: num_bytes * num_done // max(1, num_rows))


def _class_names(metadata: bytes) -> dict[str, tuple[str, ...]]:
    try:
        features = json.loads(metadata)["info"]["features"].items()
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}  # not written by `datasets`
    single = [(column, _feature_of_items(feature)) for column, feature in features]
    named = [(column, feature.get("names")) for column, feature in single if isinstance(feature, dict)]
    return {column: tuple(map(str, names)) for column, names in named if isinstance(names, list)}


def _feature_of_items(feature: Any) -> Any:
    """What `datasets` says of each item of a list; of anything else what it says of the whole."""
    if isinstance(feature, list) and len(feature) == 1:  # as its old versions wrote lists
        return feature[0]
    return feature["feature"] if isinstance(feature, dict) and isinstance(feature.get("feature"), dict) else feature
