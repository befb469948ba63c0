"""How the experts of a merge lie to each other, as a tidy table: one row a layer and pair of experts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from fusion_ui.merging.interference import Interference
from fusion_ui.merging.layer_report import LayerReport

PAIR_NUMBERS = {"cosine": Interference.cosine, "apart": Interference.distance, "opposed": Interference.opposed}
COLUMNS = ["place", "first", "second", *PAIR_NUMBERS]
WHOLE = "whole model"


def mean_over_pairs(interference: Interference, name: str) -> float | None:
    """Mean of one of `PAIR_NUMBERS` over the pairs that have it; None where none has."""
    found = [v for pair in interference.pairs if (v := PAIR_NUMBERS[name](interference, *pair)) is not None]
    return sum(found) / len(found) if found else None


def pair_table(reports: Iterable[LayerReport], experts: Sequence[str]) -> pd.DataFrame:
    """One row a place and pair; numbers are of all the place's parameters as if they were one.

    Where there is a base, parameters that it lacks are left out: changes from a base and from a mean do not add up.

    Columns:
        place: the embeddings, each layer, the head, in the order in which the model computes, and the whole model;
            without places that were frozen in training.
        first, second: the pair.
        cosine, apart, opposed: as `fusion_ui.merging.interference` has them; missing (NaN) where there is none.
    """
    found: dict[str, Interference] = {}
    reports = list(reports)
    has_base = any(report.interference.is_from_base for report in reports)
    for report in (report for report in reports if report.interference.is_from_base == has_base):
        for place in (place_of(report), WHOLE):
            known = found.get(place)
            found[place] = report.interference if known is None else known + report.interference
    is_changed = {place: mean_over_pairs(numbers, "cosine") is not None for place, numbers in found.items()}
    places = sorted((place for place in found if is_changed[place]), key=lambda place: place == WHOLE)
    frame = pd.DataFrame.from_records(
        [_row(place, found[place], pair, experts) for place in places for pair in found[place].pairs], columns=COLUMNS
    )
    return frame.astype(dict.fromkeys(PAIR_NUMBERS, float))


def place_of(report: LayerReport) -> str:
    """The layer that a parameter belongs to, or its group."""
    if report.layer is None:
        return report.group or "other"
    return f"{'decoder' if 'decoder' in report.name.split('.') else 'layer'} {report.layer}"


def _row(place: str, found: Interference, pair: tuple[int, int], experts: Sequence[str]) -> dict[str, Any]:
    names = {"place": place, "first": experts[pair[0]], "second": experts[pair[1]]}
    return names | {name: measure(found, *pair) for name, measure in PAIR_NUMBERS.items()}
