"""Data files become domains."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from fusion_ui.domains.column_names import looks_like_data
from fusion_ui.domains.data_files import is_delimited, read_table
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.items import NO_ITEMS, read_label, read_text, show_items
from fusion_ui.domains.table import Table
from fusion_ui.errors import DomainError
from fusion_ui.sources.upload import shown

_POSITION = re.compile(r"#[1-9][0-9]*")


def load_domain(
    path: Path,
    name: str,
    text_column: str = "text",
    label_column: str | None = "label",
    title: str = "",
    *,
    pair_column: str | None = None,
    has_empty_labels: bool = False,
) -> Domain:
    """Read a data file of any format. Rows without text or label are left out, which a note counts.

    Args:
        text_column: its name, or ``#1`` for the first column of a CSV or TSV file whose first row is already data.
        label_column: None reads the text alone, which is all that statistics need.
        pair_column: the second text of each example, where a model judges pairs of sentences.
        has_empty_labels: an empty label says that none of the labels fits, and its row is kept.

    Raises:
        DomainError: the file or a column is missing, unreadable or empty.
    """
    columns = [text_column, *filter(None, (pair_column, label_column))]
    table = read_table(path)
    if is_delimited(path) and any(_POSITION.fullmatch(c) and c not in table.columns for c in columns):
        table = read_table(path, has_header=False)
    positions = [_find_column(path, table, column) for column in columns]
    if not table.num_rows:
        raise DomainError(f"{path} has no rows. Add rows under the names of its columns.")
    readers = [read_text] * (len(columns) - bool(label_column)) + [read_label] * bool(label_column)
    cells = [
        _read_cells(path, column, table.column(position), read)
        for column, position, read in zip(columns, positions, readers, strict=True)
    ]
    if label_column and has_empty_labels:
        cells[-1] = [NO_ITEMS if cell is None else cell for cell in cells[-1]]
    rows, left_out = _complete_rows(path, columns, cells)
    texts, *others = (tuple(row[i] for row in rows) for i in range(len(columns)))
    pairs = others[0] if pair_column else ()
    labels = others[-1] if label_column else ()
    classes = set(labels)
    one_class = (f"Every row has the label {show_items(classes.pop())[:80]!r}.",) if len(classes) == 1 else ()
    return Domain(name, title or name, path.stem, texts, labels, pairs, (*table.notes, *left_out, *one_class))


def _find_column(path: Path, table: Table, column: str) -> int:
    """Position of the only column of that name."""
    if table.columns.count(column) > 1:
        positions = " and ".join(str(i + 1) for i, name in enumerate(table.columns) if name == column)
        raise DomainError(
            f"{path} has several columns named {column!r}, at the positions {positions}. Rename all but one of them."
        )
    if column in table.columns:
        return table.columns.index(column)
    known = ", ".join(map(shown, table.columns[:20]))[:300]
    if is_delimited(path) and looks_like_data(table.columns, table.sample(1000)):
        raise DomainError(
            f"{path} has no column {column!r}. Its first row looks like data and not like column names: {known}. "
            f"Write a row of names above it, or give columns by position: #1 to #{len(table.columns)}."
        )
    raise DomainError(f"{path} has no column {column!r}. Its columns are: {known}. Choose one of them.")


def _read_cells(
    path: Path, column: str, cells: Sequence[object], read: Callable[[object], str | None]
) -> list[str | None]:
    """Each cell as text, lists as `join_items` gives them, None where it is missing."""
    texts = []
    for row, cell in enumerate(cells, start=1):
        try:
            texts.append(read(cell))
        except UnicodeDecodeError:
            raise DomainError(
                f"{path} has bytes that are not UTF-8 text in the column {column!r} of row {row}: {str(cell)[:80]}. "
                f"Choose a column of text."
            ) from None
        except ValueError:
            kind = "dict" if isinstance(cell, dict) else "list with more than texts and numbers"
            raise DomainError(
                f"{path} has a {kind} in the column {column!r} of row {row}: {str(cell)[:80]}. "
                f"Write one text or number there, or a list of them, or choose another column."
            ) from None
    return texts


def _complete_rows(
    path: Path, columns: Sequence[str], cells: Sequence[Sequence[str | None]]
) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """The rows in which no cell is missing, and a note on the others."""
    num_rows = len(cells[0])
    rows = [tuple(c for c in row if c is not None) for row in zip(*cells, strict=True) if None not in row]
    counts = {column: sum(c is None for c in part) for column, part in zip(columns, cells, strict=True)}
    missing = ", ".join(f"{count:,} without {column!r}" for column, count in counts.items() if count)
    if not rows:
        raise DomainError(
            f"{path} has no row with a value in {' and '.join(map(repr, counts))}: of {num_rows:,} rows, "
            f"{missing}. Fill the cells, or choose other columns."
        )
    if len(rows) == num_rows:
        return rows, ()
    return rows, (f"{num_rows - len(rows):,} of {num_rows:,} rows are left out: {missing}.",)
