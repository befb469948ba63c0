"""Datasets from the hub become domains: streamed, so that some hundred examples never fetch gigabytes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, islice
from typing import Any

from fusion_ui.domains.cells import replace_surrogates
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import DomainError
from fusion_ui.sources.hub_layout import read_layout
from fusion_ui.sources.hub_rows import find_class_names, read_rows

MAX_EXAMPLES = 100_000


def list_configs_and_splits(
    repository: str, revision: str | None = None, token: str | None = None
) -> dict[str, tuple[str, ...]]:
    """Configuration -> splits of a hub dataset, from its file list and its card alone.

    Raises:
        DomainError: it has no file that can be read here.
        SourceError: the name is not ``owner/name``, or the hub does not give it; the message says what to do.
    """
    layout = read_layout(repository, revision, token)
    return {config: tuple(splits) for config, splits in layout.configs.items()}


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
    """Read the first rows of a split of a hub dataset.

    Whole numbers that the dataset declares to stand for classes become the classes' names.

    Args:
        config: None: the dataset's default, or its only one.
        split: None: ``train``, or the only one.
        revision: branch, tag or commit; None: the main branch.
        label_column: None reads the text alone, which is all that statistics need.
        pair_column: the second text of each example, where a task has one.
        num_examples: how many rows; None: all, of at most 100,000.
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
    config = _choose(what, "configuration", config, layout.configs, layout.default)
    splits = layout.configs[config]
    split = _choose(f"{what} ({config})", "split", split, splits, "train" if "train" in splits else "")
    columns = [column for column in (text_column, label_column, pair_column) if column is not None]
    limit = num_examples or MAX_EXAMPLES + 1
    files = splits[split]
    rows = list(islice(chain.from_iterable(read_rows(layout.files, path, columns, limit) for path in files), limit))
    if not rows:
        raise DomainError(f"{what} has no rows in its split {split}. Choose another split.")
    if len(rows) > MAX_EXAMPLES:
        raise DomainError(f"{what} has more than {MAX_EXAMPLES} rows in its split {split}. Give a number of examples.")
    labels: tuple[str, ...] = ()
    if label_column is not None:
        names = find_class_names(layout, config, label_column, files[0])
        labels = tuple(_label(row[label_column], names, f"{what} ({split})", label_column) for row in rows)
    texts = tuple(_text(row[text_column], what, text_column) for row in rows)
    # Only where there are pairs: a single text is not a pair whose second half is empty.
    pairs = {"pairs": tuple(_text(row[pair_column], what, pair_column) for row in rows)} if pair_column else {}
    return Domain(name, title or name, split, texts, labels, **pairs)


def _choose(what: str, kind: str, asked: str | None, existing: Mapping[str, object], default: str) -> str:
    chosen = asked if asked is not None else default or (next(iter(existing)) if len(existing) == 1 else "")
    if chosen not in existing:
        problem = f"has no {kind} {asked[:80]!r}" if asked is not None else f"has several {kind}s; choose one"
        names = ", ".join(existing)
        raise DomainError(f"{what} {problem}. It has: {names[:500]}{' ...' if len(names) > 500 else ''}.")
    return chosen


def _label(value: Any, names: tuple[str, ...] | None, where: str, column: str) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of whole numbers in which some are missing
    if value is None or value != value or (names and isinstance(value, int) and not 0 <= value < len(names)):
        shown = "nothing" if value is None else value
        raise DomainError(
            f"{where} holds {shown} in its column {column!r} in some row, which is no label. "
            "Choose another split, another label column, or none."
        )
    if names and isinstance(value, int):
        return names[value]
    if names and isinstance(value, str) and value.isdecimal() and int(value) < len(names) and value not in names:
        return names[int(value)]  # a number in a CSV file
    return _text(value, where, column)


def _text(value: Any, where: str, column: str) -> str:
    if isinstance(value, list | dict | bytes):
        raise DomainError(f"{where} holds lists or structures in its column {column!r}. Choose a column of texts.")
    return "" if value is None else replace_surrogates(str(value))
