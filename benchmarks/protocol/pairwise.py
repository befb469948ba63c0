"""Every two of the project's own experts merged, against the better and the worse of the two."""

from __future__ import annotations

import pandas as pd

from benchmarks.protocol.section import Section, markdown
from benchmarks.protocol.study import Study
from fusion_ui.evaluation.pairs import run_pairs
from fusion_ui.merging.subsets import pair_recipes
from fusion_ui.methods import find_method
from fusion_ui.plots.pairs import PLACES, pairs_figure
from fusion_ui.results.experiments import pair_table

COMPARED = ("regmean", "simple_mean")


def run(study: Study) -> Section:
    """A table a method, a heat map a method."""
    experts = {expert.name: expert.title for expert in study.project.experts}
    tables, figures, findings = [], {}, []
    for method in COMPARED:
        frame = study.keep(f"pairs-{method}", lambda method=method: score_pairs(study, method))
        title = find_method(method).title
        tables.append(f"{title}:\n\n{_render(frame, experts)}")
        for place in PLACES:
            figures[f"pairwise-{method}-{place}"] = pairs_figure(frame, experts, "better", place)
        findings += [_count(frame, title, place) for place in PLACES]
    note = (
        "The project's own experts, one seed. Accuracy in percent on *report* and its change in points, with 95 % "
        "intervals: against the better and the worse of the two, told on each domain by itself and averaged."
    )
    return Section("Every two experts", note, tables, findings, figures)


def score_pairs(study: Study, method: str) -> pd.DataFrame:
    """The rows of every pair under one method."""
    experiment = study.experiment("pairs", method, pair_recipes)
    return pair_table(run_pairs(experiment, study.trainer.progress), study.titles)


def _render(frame: pd.DataFrame, experts: dict[str, str]) -> str:
    cells: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in frame.to_dict(orient="records"):
        numbers = [f"{100 * row['score']:.1f}", *(_change(row, quantity) for quantity in ("better", "worse"))]
        cells.setdefault((row["first"], row["second"]), {})[row["where"]] = numbers
    headers = ["pair", *(f"{PLACES[place]}{end}" for place in PLACES for end in ("", ", vs better", ", vs worse"))]
    rows = [
        [f"{experts[a]} + {experts[b]}", *(cell for place in PLACES for cell in found.get(place, ["-"] * 3))]
        for (a, b), found in cells.items()
    ]
    return markdown(headers, rows)


def _change(row: dict, quantity: str) -> str:
    value, low, high = (100 * row[f"{quantity}{end}"] for end in ("", "_low", "_high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _count(frame: pd.DataFrame, title: str, place: str) -> str:
    rows = frame[frame["where"] == place]
    clear = {sign: int((sign * rows[end] > 0).sum()) for sign, end in ((1, "better_low"), (-1, "better_high"))}
    return (
        f"{title} of two on {PLACES[place]}: clearly above the better of the two in {clear[1]} of {len(rows)} pairs, "
        f"clearly below in {clear[-1]}."
    )
