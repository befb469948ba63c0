"""Data files become domains."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fusion_ui.domains.domain import Domain
from fusion_ui.errors import DomainError

READERS = {
    ".csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False),
    ".tsv": lambda path: pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False),
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False),  # pyright: ignore[reportArgumentType]
    ".parquet": pd.read_parquet,
}


def load_domain(
    path: Path, name: str, text_column: str = "text", label_column: str | None = "label", title: str = ""
) -> Domain:
    """Read a CSV, TSV, JSONL or Parquet file.

    Args:
        label_column: None reads the text alone, which is all that statistics need.

    Raises:
        DomainError: the file or a column is missing, unreadable or empty.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DomainError(f"{path} has an unknown ending. Give a file that ends in {', '.join(READERS)}.")
    if not path.is_file():
        raise DomainError(f"The data file {path} does not exist. Check the path.")
    try:
        frame = reader(path)
    except (ValueError, OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DomainError(f"{path} cannot be read as {path.suffix[1:].upper()}: {error}") from None
    for column in filter(None, (text_column, label_column)):
        if column not in frame.columns:
            columns = ", ".join(map(str, frame.columns))[:300]
            raise DomainError(f"{path} has no column {column!r}. Its columns are: {columns}.")
    if frame.empty:
        raise DomainError(f"{path} has no rows.")
    texts = tuple(str(text) for text in frame[text_column])
    labels = tuple(str(label) for label in frame[label_column]) if label_column else ()
    return Domain(name, title or name, path.stem, texts, labels)
