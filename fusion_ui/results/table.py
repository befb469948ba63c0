"""Scores as a tidy table: one row a candidate and domain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from fusion_ui.evaluation.scores import DomainScore

COLUMNS = ["candidate", "title", "color", "is_reference", "domain", "split", "role", "metric", "value", "num_correct"]
COLUMNS += ["num_examples", "num_total", "low", "high"]


def tidy_table(rows: Iterable[tuple[Mapping[str, Any], Iterable[DomainScore]]]) -> pd.DataFrame:
    """One row a candidate and domain.

    Args:
        rows: for each candidate its description (name, title, color, is_reference) and its scores.
    """
    records = [
        {"candidate": about["name"], **{k: about[k] for k in ("title", "color", "is_reference")}, **asdict(score)}
        for about, scores in rows
        for score in scores
    ]
    return pd.DataFrame.from_records(records, columns=COLUMNS)
