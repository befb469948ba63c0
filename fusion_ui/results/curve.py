"""Scores over the values of a parameter, as a tidy table."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from fusion_ui.evaluation.comparison import CandidateScores
from fusion_ui.tasks import shared_metric

MEAN = ""
"""Stands in the place of a domain's name for the mean over all domains."""
COLUMNS = ["parameter", "domain", "value", "low", "high", "num_examples", "is_complete", "metric"]


def curve_table(curve: Mapping[float, CandidateScores]) -> pd.DataFrame:
    """One row a value and domain, and one for the mean over the domains, by ascending values.

    Columns beyond those of `DomainScore`:
        num_examples: sentences that the score is of; of the mean, those of all domains.
        is_complete: every sentence was answered.
    """
    records = []
    for value, row in sorted(curve.items()):
        for s in row.scores:
            is_complete = s.num_examples == s.num_total
            records.append((value, s.domain, s.value, s.low, s.high, s.num_examples, is_complete, s.metric))
        if row.scores:
            count = sum(score.num_examples for score in row.scores)
            metric = shared_metric(score.metric for score in row.scores)
            records.append((value, MEAN, row.mean, *row.interval, count, row.is_complete, metric))
    return pd.DataFrame.from_records(records, columns=COLUMNS)
