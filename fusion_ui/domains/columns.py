"""Which columns of a data file hold the text and the label: a guess, and a preview to check it by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from fusion_ui.domains.cells import is_nested
from fusion_ui.domains.column_names import (
    LABEL_NAMES,
    MAX_CLASSES,
    PAIR_NAMES,
    TAG_NAMES,
    TEXT_NAMES,
    WORD_NAMES,
    column_key,
    is_number,
    looks_like_data,
)
from fusion_ui.domains.data_files import is_delimited, read_table
from fusion_ui.domains.items import read_label, read_text, show_items, split_items
from fusion_ui.domains.table import Row

SAMPLE_ROWS = 1000
LONGEST_CELL = 300


@dataclass(frozen=True)
class ColumnGuess:
    """Which columns are what.

    Attributes:
        text_columns: one, two for pairs of sentences, or none where no column holds text.
        label_column: None where no column holds classes.
        reason: sentences for the person who checks the guess.
        has_tagged_words: the label column holds a label for every word.
    """

    text_columns: tuple[str, ...]
    label_column: str | None
    reason: str
    has_tagged_words: bool = False


@dataclass(frozen=True)
class Preview:
    """What a person needs to see of a data file before it is used.

    Attributes:
        columns: as `load_domain` takes them: ``#1`` and so on where the first row is data.
        rows: the first rows; cells cut to `LONGEST_CELL` characters, "" where missing.
        guess: the columns that are likely meant.
        num_rows: rows in the whole file, those without text or label too; None where a hub dataset does not say.
        num_by_label: how often each label occurs in the whole file, most frequent first; empty without a label column,
            and of a hub dataset, which is not read whole.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    guess: ColumnGuess
    num_rows: int | None
    num_by_label: Mapping[str, int]


def preview(path: Path, num_rows: int = 5) -> Preview:
    """The first rows of a data file, and a guess at its columns.

    Of a Parquet file, only the first rows and the label column are read.

    Raises:
        DomainError: the file cannot be read; see `read_table`.
    """
    table = read_table(path)
    has_header = not (is_delimited(path) and looks_like_data(table.columns, table.sample(SAMPLE_ROWS)))
    if not has_header:
        table = read_table(path, has_header)
    guess = guess_columns(pd.DataFrame(list(table.sample(SAMPLE_ROWS)), columns=list(table.columns), dtype=object))
    if not has_header:
        guess = replace(guess, reason=f"The first row looks like data, so columns go by position. {guess.reason}")
    label_cells = table.column(table.columns.index(guess.label_column)) if guess.label_column else ()
    counts = Counter(label for cell in label_cells for label in _labels(cell, guess.has_tagged_words))
    return Preview(table.columns, show_rows(table.head(num_rows)), guess, table.num_rows, dict(counts.most_common()))


def show_rows(rows: Iterable[Row]) -> tuple[tuple[str, ...], ...]:
    """Rows as a preview shows them."""
    return tuple(tuple(_shown(cell)[:LONGEST_CELL] for cell in row) for row in rows)


def guess_columns(frame: pd.DataFrame) -> ColumnGuess:
    """Columns of text and label by well-known names, else by content: the longest text, the fewest distinct values."""
    columns = _Columns(frame)
    if words := columns.tagged_words():
        return ColumnGuess(words[:1], words[1], f"{words[0]!r} holds words and {words[1]!r} a label for each.", True)
    texts = columns.named_pair()
    texts_why = f"{' and '.join(map(repr, texts))} are well-known names of a pair of texts"
    if not texts and (name := columns.named(TEXT_NAMES)):
        texts, texts_why = (name,), f"{name!r} is a well-known name of a text column"
    label = columns.named(LABEL_NAMES, taken=texts)
    label_why = f"{label!r} is a well-known name of a label column"
    if not texts:
        texts = columns.longest(taken=(label,))
        texts_why = f"{texts[0]!r} has the longest texts" if texts else "no column holds text"
    if label is None:
        label = columns.fewest_values(taken=texts)
        label_why = f"{label!r} has few distinct values" if label else "no column has few distinct values"
    return ColumnGuess(texts, label, f"{texts_why[:1].upper()}{texts_why[1:]}; {label_why}.")


class _Columns:
    """The columns of a frame, by name and by content."""

    def __init__(self, frame: pd.DataFrame) -> None:
        names = [str(name) for name in frame.columns]
        # Of two columns with one name, none can be loaded, so none is guessed.
        self._cells = {
            name: _without_nan(frame.iloc[:, i]) for i, name in enumerate(names) if name and names.count(name) == 1
        }
        self._by_key = {column_key(name): name for name in reversed(self._cells)}

    def named_pair(self) -> tuple[str, ...]:
        pairs = (tuple(self._by_key.get(key) for key in pair) for pair in PAIR_NAMES)
        return next((tuple(map(str, pair)) for pair in pairs if None not in pair), ())

    def tagged_words(self) -> tuple[str, ...]:
        """Well-known names of words and of their labels, of which there are as many in every row."""
        words, tags = ([self._by_key[key] for key in keys if key in self._by_key] for keys in (WORD_NAMES, TAG_NAMES))
        return next(((word, tag) for word in words for tag in tags if self._are_aligned(word, tag)), ())

    def _are_aligned(self, words: str, tags: str) -> bool:
        counts = [
            (len(_items(a)), len(_items(b)))
            for a, b in zip(self._cells[words], self._cells[tags], strict=True)
            if a is not None and b is not None
        ]
        return any(count > 1 for count, _ in counts) and all(a == b for a, b in counts)

    def named(self, keys: Sequence[str], taken: Sequence[str | None] = ()) -> str | None:
        return next((name for key in keys if (name := self._by_key.get(key)) and name not in taken), None)

    def longest(self, taken: Sequence[str | None]) -> tuple[str, ...]:
        """The column with the longest mean text, numbers not counted as text."""
        lengths = {}
        for name in self._unused(taken):
            texts = [cell for cell in self._cells[name] if isinstance(cell, str) and not is_number(cell)]
            lengths[name] = sum(map(len, texts)) / max(1, len(self._cells[name]))
        longest = max(lengths, key=lengths.__getitem__, default=None)
        return (longest,) if longest is not None and lengths[longest] else ()

    def fewest_values(self, taken: Sequence[str | None]) -> str | None:
        """The column with the fewest distinct values, but at least two, that repeat; the last one of equals."""
        counts = {}
        for name in self._unused(taken):
            labels = [label for cell in self._cells[name] if (label := _shown(cell, is_label=True))]
            num_distinct = len(set(labels))
            if not any(map(is_nested, self._cells[name])) and 2 <= num_distinct <= min(MAX_CLASSES, len(labels) / 2):
                counts[name] = num_distinct
        return min(reversed(counts), key=counts.__getitem__, default=None)

    def _unused(self, taken: Sequence[str | None]) -> list[str]:
        return [name for name in self._cells if name not in taken]


def _without_nan(column: pd.Series) -> list[object]:
    return column.astype(object).where(column.notna(), None).tolist()


def _shown(cell: object, is_label: bool = False) -> str:
    """A cell for a person to look at, whatever it holds."""
    try:
        return show_items((read_label if is_label else read_text)(cell) or "")
    except UnicodeDecodeError:
        return repr(cell)
    except ValueError:
        return str(cell)


def _labels(cell: object, has_tagged_words: bool) -> tuple[str, ...]:
    """The labels in a cell, whatever it holds."""
    if has_tagged_words or is_nested(cell):
        return _items(cell)
    return (label,) if (label := _shown(cell, is_label=True)) else ()


def _items(cell: object) -> tuple[str, ...]:
    """The items of a list, or of a text with spaces; of anything else the whole."""
    try:
        return split_items(read_label(cell) or "")
    except ValueError:
        return (str(cell),)
