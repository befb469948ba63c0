"""Several values in one cell: the words of a sentence, a tag for each, the labels of a text.

Data files hold them as lists (JSON lines, Parquet) or as one text with separators (CSV). Inside, they are one text in
which a character that no text needs stands before each, so that a domain is texts and labels whatever its task is, and
a project's CSV files hold it as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fusion_ui.domains.cells import JOINER, cell_text, is_list, is_nested, label_name

NO_ITEMS = "[]"
"""A list without items, where that is a value and not a missing one."""


def read_text(cell: object) -> str | None:
    """A cell of text, or of words, as a domain has it; None where it is missing or an empty list.

    Raises:
        UnicodeDecodeError: as `cell_text`.
        ValueError: as `join_items`.
    """
    if not is_nested(cell):
        return cell_text(cell)
    return None if (text := join_items(cell)) == NO_ITEMS else text


def read_label(cell: object) -> str | None:
    """A cell of one label, or of several, as a domain has it; None where it is missing.

    Raises:
        UnicodeDecodeError, ValueError: as `read_text`.
    """
    return join_items(cell) if is_nested(cell) else label_name(cell)


def join_items(cell: Iterable[object]) -> str:
    """A list of texts or numbers as one text; `NO_ITEMS` where it is empty.

    Raises:
        UnicodeDecodeError: as `cell_text`.
        ValueError: an item is a list or an object itself, or the cell is an object.
    """
    if isinstance(cell, dict) or any(map(is_nested, cell)):
        raise ValueError("a list in a list")
    return "".join(f"{JOINER}{(cell_text(item) or '').replace(JOINER, ' ')}" for item in cell) or NO_ITEMS


def split_items(text: str, separators: str = r"\s+") -> tuple[str, ...]:
    """The items of a text: of a list, or between `separators` (a regular expression) where it was written as one text.

    Returns:
        The items without space around them; those of a list also where they are empty.
    """
    if text == NO_ITEMS:
        return ()
    if JOINER in text:
        return tuple(item.strip() for item in text.removeprefix(JOINER).split(JOINER))
    return tuple(item for part in re.split(separators, text) if (item := part.strip()))


def show_items(text: str) -> str:
    """A text for a person to look at: the items of a list with a space between."""
    return " ".join(split_items(text)) if is_list(text) else text


def rename_items(text: str, names: Mapping[str, str]) -> str:
    """A label, or every item of a list of them, under the name that it goes by."""
    if is_list(text):
        return join_items([names.get(item, item) for item in split_items(text)])
    return names.get(text, text)


def label_items(label: str) -> tuple[str, ...]:
    """The labels in a list, or the one that there is."""
    return split_items(label) if is_list(label) else (label,)
