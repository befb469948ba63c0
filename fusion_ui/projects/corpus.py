"""From sentences with mean human ratings to the four splits of a domain."""

from __future__ import annotations

import html
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from fusion_ui.errors import DomainError


def read_rated_sentences(path: Path, label_names: Sequence[str], minimum_rating: float) -> pd.DataFrame:
    """Read ``id <tab> mean rating <tab> sentence`` lines into a frame with the columns ``text`` and ``label``.

    The label is the sign of the mean rating; sentences rated closer to zero than `minimum_rating` are left out, and
    so are repetitions of a sentence (compared without case and white space), so no split holds another's text.
    """
    rows: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split("\t", 2)
        if len(fields) != 3:
            raise DomainError(f"{path.name}, line {number}: expected three columns separated by tabs.")
        rating, text = float(fields[1]), " ".join(html.unescape(fields[2]).split())
        if abs(rating) >= minimum_rating:
            rows.setdefault(text.casefold(), (text, label_names[int(rating > 0)]))
    return pd.DataFrame(list(rows.values()), columns=["text", "label"])


def split_sentences(frame: pd.DataFrame, sizes: Mapping[str, int], seed: int) -> dict[str, pd.DataFrame]:
    """Cut `frame` into disjoint splits of the given sizes, shuffled by `seed` alone."""
    if len(frame) < sum(sizes.values()):
        raise DomainError(f"{len(frame)} sentences cannot fill splits of {sum(sizes.values())}.")
    order = list(range(len(frame)))
    random.Random(seed).shuffle(order)  # the same on every machine and version, unlike a library's generator
    splits, start = {}, 0
    for name, size in sizes.items():
        splits[name] = frame.iloc[order[start : start + size]].reset_index(drop=True)
        start += size
    return splits
