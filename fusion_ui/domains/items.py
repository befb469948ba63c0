"""Several values in one cell: the words of a sentence, a tag for each, the labels of a text.

Data files hold them as lists (JSON lines, Parquet) or as one text with separators (CSV). Inside, they are one text in
which a character that no text needs stands between them, so that a domain is texts and labels whatever its task is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fusion_ui.domains.cells import cell_text

JOINER = "\x1f"
"""ASCII's unit separator."""
NO_ITEMS = "[]"
"""A list without items, where that is a value and not a missing one."""


def join_items(cell: Sequence[object]) -> str | None:
    """A list of texts or numbers as one text; None where it is empty.

    Raises:
        UnicodeDecodeError: as `cell_text`.
        ValueError: an item is a list or an object itself.
    """
    if isinstance(cell, dict) or any(hasattr(item, "__len__") and not isinstance(item, str | bytes) for item in cell):
        raise ValueError("a list in a list")
    return JOINER.join((cell_text(item) or "").replace(JOINER, " ") for item in cell) if len(cell) else None


def split_items(text: str, separators: str = r"\s+") -> tuple[str, ...]:
    """The items of a text: of a list, or between `separators` (a regular expression) where it was written as one text.

    Returns:
        The items without space around them; those of a list also where they are empty.
    """
    if JOINER in text:
        return tuple(item.strip() for item in text.split(JOINER))
    return tuple(item for part in re.split(separators, text) if (item := part.strip()))
