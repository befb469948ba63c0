"""Datasets from the hub become domains: read in parts, so that some hundred examples never fetch gigabytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

from fusion_ui.domains.cells import is_nested, replace_surrogates
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.items import NO_ITEMS, join_items, label_items
from fusion_ui.errors import DomainError
from fusion_ui.sources.hub_card import find_class_names
from fusion_ui.sources.hub_layout import DatasetLayout, choose_split, read_layout
from fusion_ui.sources.hub_parquet import ParquetSchema, read_schema
from fusion_ui.sources.hub_rows import read_rows
from fusion_ui.sources.hub_sample import sample_rows

MAX_EXAMPLES = 100_000


def list_configs_and_splits(
    repository: str, revision: str | None = None, token: str | None = None
) -> dict[str, tuple[str, ...]]:
    """Configuration -> splits of a hub dataset, from its file list and its card alone.

    What is taken where none is asked for comes first.

    Raises:
        DomainError: it has no file that can be read here.
        SourceError: the name is not ``owner/name``, or the hub does not give it; the message says what to do.
    """
    layout = read_layout(repository, revision, token)
    configs = sorted(layout.configs, key=lambda config: config != layout.default)
    return {config: tuple(sorted(layout.configs[config], key=lambda split: split != "train")) for config in configs}


def load_hub_domain(
    repository: str,
    name: str,
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    text_column: str = "text",
    label_column: str | None = "label",
    pair_column: str | None = None,
    num_examples: int | None = None,
    token: str | None = None,
    title: str = "",
) -> Domain:
    """Read a split of a hub dataset, or some rows from all over it, the same ones every time.

    Whole numbers that the dataset declares to stand for classes become the classes' names.

    Args:
        config: None: the dataset's default, or its only one.
        split: None: ``train``, or the only one.
        revision: branch, tag or commit; None: the main branch.
        label_column: None reads the text alone, which is all that statistics need.
        pair_column: the second text of each example, where a task has one.
        num_examples: how many rows, of what a few megabytes show of the split; None: all, of at most 100,000. Where
            rows of one label alone were found, or none of some label, a note of the domain says so.
        token: the visitor's own, for gated and private datasets.

    Raises:
        DomainError: a configuration, split or column does not exist, there are no rows or too many, or a row has no
            label. The message lists what exists.
        SourceError: as `list_configs_and_splits`.
    """
    if num_examples is not None and not 1 <= num_examples <= MAX_EXAMPLES:
        raise DomainError(f"The number of examples must be from 1 to {MAX_EXAMPLES}. Got {num_examples} instead.")
    what = f"The dataset {repository}"
    layout = read_layout(repository, revision, token)
    config, split = choose_split(layout, config, split)
    columns = [column for column in (text_column, label_column, pair_column) if column is not None]
    paths = layout.configs[config][split]
    if num_examples is None:
        every = chain.from_iterable(read_rows(layout.files, path, columns) for path in paths)
        rows = list(islice(every, MAX_EXAMPLES + 1))
    else:
        rows = sample_rows(layout.files, paths, columns, num_examples)
    if not rows:
        raise DomainError(f"{what} has no rows in its split {split}. Choose another split.")
    if len(rows) > MAX_EXAMPLES:
        raise DomainError(f"{what} has more than {MAX_EXAMPLES} rows in its split {split}. Give a number of examples.")
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if label_column is not None:
        names = class_names(layout, config, read_schema(layout.files, paths[0]), label_column)
        labels = tuple(_label(row[label_column], names, f"{what} ({split})", label_column) for row in rows)
        notes = _note_missing(labels, names, is_sample=len(rows) == num_examples)
    texts = tuple(_text(row[text_column], what, text_column) for row in rows)
    # Only where there are pairs: a single text is not a pair whose second half is empty.
    pairs = tuple(_text(row[pair_column], what, pair_column) for row in rows) if pair_column else ()
    return Domain(name, title or name, split, texts, labels, pairs, notes)


def class_names(layout: DatasetLayout, config: str, schema: ParquetSchema | None, column: str) -> tuple[str, ...]:
    """The names of a column's classes by number: from a Parquet file's own schema, else from the card; or none."""
    return (schema and schema.class_names.get(column)) or find_class_names(layout.card, config, column) or ()


def _note_missing(labels: tuple[str, ...], names: tuple[str, ...], is_sample: bool) -> tuple[str, ...]:
    """A sentence where only one label was found, or none of some that there are."""
    found = {item for label in labels for item in label_items(label)}
    if len(found) == 1 and not is_sample:
        return (f"Every row has the label {labels[0][:80]!r}.",)
    advice = "If the dataset is sorted by label, ask for more rows, or take a shuffled one."
    if len(found) == 1:
        return (f"All {len(labels):,} rows that were read have the label {labels[0][:80]!r}. {advice}",)
    missing = [name for name in names if name not in found]
    if missing and is_sample:
        listed = ", ".join(repr(name[:80]) for name in missing[:10])
        return (f"Of {len(names)} labels, {len(missing)} were not found in {len(labels):,} rows: {listed}. {advice}",)
    return ()


def class_name(value: Any, names: Sequence[str]) -> Any:
    """The name that a class's number stands for, a whole number without decimals, else the value as it is; of a list
    those of its items.
    """
    if isinstance(value, list):
        return [class_name(item, names) for item in value]
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of whole numbers in which some are missing
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    if isinstance(value, str) and value not in names and value.isdecimal() and len(value) < 10:
        return names[int(value)] if int(value) < len(names) else value  # a number in a CSV file
    return value


def _label(value: Any, names: tuple[str, ...], where: str, column: str) -> str:
    named = class_name(value, names)
    items = named if isinstance(named, list) else [named]
    if any(item is None or item != item or (names and isinstance(item, int)) for item in items):
        shown = "nothing" if named is None else named
        raise DomainError(
            f"{where} holds {shown} in its column {column!r} in some row, which is no label. "
            "Choose another split, another label column, or none."
        )
    return NO_ITEMS if named == [] else _text(named, where, column)


def _text(value: Any, where: str, column: str) -> str:
    if isinstance(value, dict | bytes) or (isinstance(value, list) and any(map(is_nested, value))):
        raise DomainError(f"{where} holds structures in its column {column!r}. Choose a column of texts.")
    if isinstance(value, list):
        return join_items(value) if value else ""
    return "" if value is None else replace_surrogates(str(value))
