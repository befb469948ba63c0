"""Parquet files, of which only the columns asked for are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from fusion_ui.domains.table import Row, Table
from fusion_ui.errors import DomainError
from fusion_ui.sources.upload import shown

Result = TypeVar("Result")
MAX_ROWS = 5_000_000


def read_parquet(path: Path) -> ParquetTable:
    """A table that reads from the file when its cells are asked for.

    Raises:
        DomainError: the file is damaged or no Parquet file; cells raise it too.
    """
    return _guard(path, lambda: _open(path))


@dataclass(frozen=True, eq=False)
class ParquetTable(Table):
    """Columns of a Parquet file, read one at a time."""

    path: Path

    def column(self, position: int) -> Sequence[object]:
        """All cells of one column, as Python values."""
        name = self.columns[position]

        def read() -> list[object]:
            with pq.ParquetFile(self.path) as file:
                if self.columns.count(name) == 1:
                    return file.read(columns=[name], use_threads=False).column(0).to_pylist()
                return file.read(use_threads=False).column(position).to_pylist()

        return _guard(self.path, read)

    def head(self, num_rows: int) -> Sequence[Row]:
        """The first rows."""

        def read() -> list[Row]:
            with pq.ParquetFile(self.path) as file:
                batch = next(file.iter_batches(num_rows, use_threads=False), None)
            columns = [] if batch is None else [column.to_pylist() for column in batch.columns]
            return list(zip(*columns, strict=True))

        return _guard(self.path, read)

    def sample(self, num_rows: int) -> Sequence[Row]:
        """The first rows: others would cost reading whole row groups."""
        return self.head(num_rows)


def _open(path: Path) -> ParquetTable:
    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows > MAX_ROWS:  # a few kilobytes can say a billion times the same
            raise DomainError(
                f"{path} has {file.metadata.num_rows:,} rows, and at most {MAX_ROWS:,} are read. Take a part of it."
            )
        return ParquetTable(tuple(file.schema_arrow.names), file.metadata.num_rows, (), path)


def _guard(path: Path, read: Callable[[], Result]) -> Result:
    try:
        return read()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = shown(" ".join(str(error).split())).rstrip(".")
        raise DomainError(f"{path} cannot be read as PARQUET: {reason}. Download or write the file again.") from None
