"""What becomes of two weights under the mean and RegMean, and what it costs each expert, as a table."""

from __future__ import annotations

import pandas as pd

from fusion_ui.merging.two_features import TwoFeatures

COLUMNS = ["what", "first", "second", "error_first", "error_second", "error"]


def two_features_table(picture: TwoFeatures, alpha: float) -> pd.DataFrame:
    """One row each for the experts, their mean and RegMean at `alpha`, 0 and 1.

    Columns:
        first, second: the two weights.
        error_first, error_second: mean squared error of the output on each expert's domain; error: weighted by the
            experts' coefficients, which RegMean at 1 makes smallest.
    """
    places = {picture.experts[0]: picture.points[0], picture.experts[1]: picture.points[1], "Simple mean": picture.mean}
    places |= {f"RegMean α={value:g}": picture.solve(value) for value in dict.fromkeys((0.0, float(alpha), 1.0))}
    records = []
    for what, point in places.items():
        errors = picture.error(0, point), picture.error(1, point)
        records.append((what, *point, *errors, sum(w * e for w, e in zip(picture.weights, errors, strict=True))))
    return pd.DataFrame.from_records(records, columns=COLUMNS)
