"""The first rows of a split of a hub dataset, and a guess at its columns, before any of it is used."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import pandas as pd

from fusion_ui.domains.cells import is_nested
from fusion_ui.domains.column_names import WELL_KNOWN, column_key
from fusion_ui.domains.columns import Preview, guess_columns, show_rows
from fusion_ui.domains.hub import class_name, class_names
from fusion_ui.errors import DomainError
from fusion_ui.sources.hub_card import find_num_rows
from fusion_ui.sources.hub_layout import choose_split, read_layout
from fusion_ui.sources.hub_parquet import read_schema
from fusion_ui.sources.hub_rows import read_rows

NUM_ROWS = 100
"""Rows that are read for the guess."""
MAX_COLUMNS = 16
"""Columns that are read; each costs a request."""


def preview_hub_domain(
    repository: str,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    token: str | None = None,
    num_shown: int = 5,
) -> Preview:
    """What `preview` shows of a data file, of the beginning of a split. Numbers of classes stand as their names.

    Columns of structures are left out, and of very many columns all but some, well-known names before others.

    Args:
        config, split, revision, token: as `load_hub_domain`.
        num_shown: how many rows to show.

    Raises:
        DomainError, SourceError: as `load_hub_domain`.
    """
    layout = read_layout(repository, revision, token)
    config, split = choose_split(layout, config, split)
    paths = layout.configs[config][split]
    schema = read_schema(layout.files, paths[0])
    columns = _choose_columns(schema.columns) if schema else None
    rows = list(islice(read_rows(layout.files, paths[0], columns), NUM_ROWS))
    if not rows:
        raise DomainError(f"The dataset {repository} has no rows in its split {split}. Choose another split.")
    if columns is None:
        columns = _choose_columns([name for row in rows for name, cell in row.items() if not _is_structure(cell)])
    frame = pd.DataFrame([[row.get(name) for name in columns] for row in rows], columns=columns, dtype=object)
    guess = guess_columns(frame)
    if guess.label_column:
        names = class_names(layout, config, schema, guess.label_column)
        labels = [class_name(cell, names) for cell in frame[guess.label_column]]
        frame[guess.label_column] = pd.Series(labels, dtype=object)
    num_rows = schema.num_rows if schema and len(paths) == 1 else find_num_rows(layout.card, config, split)
    shown = show_rows(frame.head(num_shown).itertuples(index=False, name=None))
    return Preview(tuple(columns), shown, guess, num_rows, {})


def _choose_columns(names: Sequence[str]) -> list[str]:
    """Each name once, in order."""
    known = [name for name in names if column_key(name) in WELL_KNOWN]
    chosen = list(dict.fromkeys([*known, *names]))[:MAX_COLUMNS]
    return [name for name in dict.fromkeys(names) if name in chosen]


def _is_structure(cell: object) -> bool:
    """True for an object, and for a list of more than texts and numbers."""
    return isinstance(cell, dict) or (isinstance(cell, list) and any(map(is_nested, cell)))
