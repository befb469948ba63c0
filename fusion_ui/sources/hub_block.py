"""Rows that lie together in a file on the hub, and the words for what cannot be read of them."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fusion_ui.errors import DomainError

Row = Mapping[str, Any]

ROWS_AT_ONCE = 256
"""Rows taken from a file together."""


@dataclass(frozen=True)
class Block:
    """Rows that are read from their first on and no other way: a row group of Parquet, or all of a text file.

    Attributes:
        num_rows: None where that is not known before they are read.
        rows: fetched when they are asked for, once.
        count_bytes: how many bytes the rows asked for so far take; 0 where all of them were fetched together.
    """

    num_rows: int | None
    rows: Iterator[Row]
    count_bytes: Callable[[], int]


@contextmanager
def naming_damage(where: str) -> Iterator[None]:
    """Raise `DomainError` for what readers raise inside, with `where` it was found."""
    import pandas as pd
    import pyarrow as pa

    try:
        yield
    except (ValueError, EOFError, RecursionError, pa.ArrowException, pd.errors.ParserError, gzip.BadGzipFile) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
        raise DomainError(f"{where} cannot be read: {reason}. Choose another split or dataset.") from None


def check_columns(where: str, columns: Sequence[str], existing: Sequence[str]) -> None:
    """Raise `DomainError` for a column that does not exist."""
    for column in columns:
        if column not in existing:
            raise DomainError(f"{where} has no column {column[:80]!r}. Its columns are: {', '.join(existing)[:300]}.")
