"""The labels that text of a domain may have, from more files than the one that is measured."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from fusion_ui.domains.data_files import read_table
from fusion_ui.domains.loaders import load_domain


def labels_in(files: Iterable[Path], text_column: str, label_column: str | None) -> tuple[str, ...]:
    """Every label in some files of one domain, in order; none where there is no such file, or it has no such column.

    Raises:
        DomainError: a file is damaged.
    """
    if label_column is None:
        return ()
    found = set[str]()
    for path in files:
        if path.is_file():
            about = path.stat()
            found |= _read_labels(path, text_column, label_column, about.st_mtime_ns, about.st_size)
    return tuple(sorted(found))


@lru_cache(maxsize=256)
def _read_labels(path: Path, text_column: str, label_column: str, _changed: int, _size: int) -> frozenset[str]:
    """The labels of a file, read again only when it has changed: a slider asks for them many times a second."""
    if not label_column.startswith("#") and label_column not in read_table(path).columns:
        return frozenset()
    return frozenset(load_domain(path, path.stem, text_column, label_column).labels)
