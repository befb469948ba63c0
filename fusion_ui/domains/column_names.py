"""Names that columns of text and labels go by, and how a row of names is told from a row of data."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fusion_ui.domains.table import Row

# Each list in the order of preference. Names are compared in lower case, with _ for every space and sign.
PAIR_NAMES = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("text_a", "text_b"),
)
TEXT_NAMES = (
    *("text", "sentence", "content", "review", "review_body", "tweet", "comment", "comment_text", "message", "body"),
    *("document", "article", "headline", "utterance", "question", "query", "description", "input", "title"),
)
LABEL_NAMES = (
    *("label", "labels", "gold_label", "label_text", "class", "category", "sentiment", "polarity", "emotion"),
    *("intent", "topic", "target", "stars", "rating", "score", "answer", "y", "similarity_score", "similarity"),
)

WORD_NAMES = ("tokens", "words", "token", "word", "text", "sentence")
TAG_NAMES = ("ner_tags", "ner", "tags", "labels", "label", "tag", "entities", "pos_tags", "upos", "chunk_tags")

WELL_KNOWN = {*TEXT_NAMES, *LABEL_NAMES, *WORD_NAMES, *TAG_NAMES, *(name for pair in PAIR_NAMES for name in pair)}

MAX_CLASSES = 100
LONGEST_NAME = 60

_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?")


def looks_like_data(first_row: Sequence[str], rows: Sequence[Row]) -> bool:
    """True where the first row of a file is likely data: a number, a long text, or a value that its column repeats.

    Args:
        first_row: cells in the place of column names.
        rows: a sample of the rows below it.
    """
    if list(first_row) == [str(i) for i in range(len(first_row))]:  # as pandas names columns that have no name
        return False
    # Files that were joined repeat the whole row of names.
    others = [row for row in rows if [str(cell).strip() for cell in row] != list(first_row)]
    for position, cell in enumerate(first_row):
        below = {str(row[position]).strip() for row in others}
        if cell and cell in below and len(below) <= min(MAX_CLASSES, len(others) - 1):
            return True
    if any(column_key(cell) in (*TEXT_NAMES, *LABEL_NAMES) for cell in first_row):
        return False
    return any(is_number(cell) or len(cell) > LONGEST_NAME for cell in first_row)


def column_key(name: str) -> str:
    """A name as it is compared: lower case, with one _ for signs and spaces in a row."""
    return re.sub(r"[\W_]+", "_", name.strip().casefold())


def is_number(text: str) -> bool:
    """True for digits with at most one decimal point or comma."""
    return _NUMBER.fullmatch(text.strip()) is not None
