"""CoNLL files: a word and its label on each line, a blank line between sentences."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from pathlib import Path

from fusion_ui.domains.table import RowTable
from fusion_ui.domains.text_files import describe_format, open_text
from fusion_ui.errors import DomainError

ENDINGS = (".conll", ".bio", ".iob")
DOCUMENT = "-DOCSTART-"
"""Stands in the place of a word where a document begins."""


def read_conll(path: Path) -> RowTable:
    """One row a sentence, with a list of words, ``text``, and a list of their labels, ``label``.

    The first column of the lines is the word and the last one the label; those between are ``#2``, ``#3`` and so on.
    Columns end at tabs, or where there is none in the file at spaces. Comments begin with # and are no such line.

    Raises:
        DomainError: a line has more or fewer columns than others, or a word has no label.
    """
    with open_text(path) as file:
        lines = file.read().splitlines()
    separator = "\t" if any("\t" in line for line in lines) else None
    split = [tuple(part.strip() for part in line.strip().split(separator)) if line.strip() else () for line in lines]
    widths = Counter(len(parts) for parts in split if parts)
    if not widths:
        raise DomainError(f"{path} has no rows. Write a word and its label on each line.")
    width = widths.most_common(1)[0][0]
    for number, parts in enumerate(split, start=1):
        if parts and len(parts) != width and not _is_apart(parts):
            raise DomainError(
                f"{path} cannot be read as {describe_format(path)}: line {number} has {len(parts)} columns where most "
                f"have {width}. Write a word and its label on each line, and a blank line between sentences."
            )
    if width < 2:
        raise DomainError(
            f"{path} cannot be read as {describe_format(path)}: its lines have one column. Write a word and its label "
            "on each line, with a space or a tab between."
        )
    kept = [() if parts and parts[0] == DOCUMENT else parts for parts in split if len(parts) in (0, width)]
    sentences = [list(group) for is_sentence, group in groupby(kept, key=bool) if is_sentence]
    columns = ("text", *(f"#{i}" for i in range(2, width)), "label")
    rows = [tuple([parts[i] for parts in sentence] for i in range(width)) for sentence in sentences]
    return RowTable(columns, len(rows), (), rows)


def _is_apart(parts: tuple[str, ...]) -> bool:
    """True for the parts of a comment, or of a line that begins a document."""
    return parts[0].startswith("#") or parts[0] == DOCUMENT
