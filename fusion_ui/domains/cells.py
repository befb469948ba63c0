"""Single cells of a data file, as text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeGuard

JOINER = "\x1f"
"""Stands before every item of a list that became one text: ASCII's unit separator."""
_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]+)\.0+")


def is_nested(value: object) -> TypeGuard[Iterable[object]]:
    """True for a list or an object, which is no text and no label."""
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)


def is_list(text: str) -> bool:
    """True for a text that was a list."""
    return text.startswith(JOINER)


def cell_text(value: object) -> str | None:
    """The text of a cell as it stands; None where it is null, not a number (NaN), or blank.

    Raises:
        UnicodeDecodeError: the cell holds bytes that are not UTF-8.
    """
    if value is None or value != value:
        return None
    text = value.decode() if isinstance(value, bytes) else str(value)
    return replace_surrogates(text) if text.strip() else None


def label_name(value: object) -> str | None:
    """A label as text: without space around it, and a whole number without decimals, so that 1.0 is 1; a list as it is.

    Raises:
        UnicodeDecodeError: as `cell_text`.
    """
    text = cell_text(value)
    return text if text is None or is_list(text) else normalise_label(text)


def normalise_label(text: str) -> str:
    """See `label_name`. Tables turn the whole numbers of a column into 1.0 where one cell is missing."""
    text = text.strip()
    whole = _WHOLE_NUMBER.fullmatch(text)
    return whole[1] if whole else text


def replace_surrogates(text: str) -> str:
    """Halves of characters, which JSON can spell and no tokenizer takes, become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
