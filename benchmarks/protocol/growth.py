"""The project's own experts added one by one, in their fixed order, each time merged from scratch."""

from __future__ import annotations

import pandas as pd

from benchmarks.protocol.pairwise import COMPARED
from benchmarks.protocol.section import Section, markdown
from benchmarks.protocol.study import Study
from fusion_ui.evaluation.growth import run_growth
from fusion_ui.merging.subsets import prefix_recipes
from fusion_ui.methods import find_method
from fusion_ui.plots.growth import growth_figure
from fusion_ui.results.experiments import growth_table

SERIES = {"own so far": "on their own domains", "all": "on all domains"}


def run(study: Study) -> Section:
    """A row a number of experts, columns for both methods and the ensemble."""
    frames = {m: study.keep(f"growth-{m}", lambda m=m: score_growth(study, m)) for m in COMPARED}
    order = [expert.title for expert in study.project.experts]
    columns = {f"{find_method(m).title} {where}": (m, series) for series, where in SERIES.items() for m in COMPARED}
    columns["Ensemble on their own domains"] = (COMPARED[0], "ensemble")
    rows = []
    for count in range(1, len(order) + 1):
        cells = [_cell(frames[method], series, count) for method, series in columns.values()]
        rows.append([("+ " if count > 1 else "") + order[count - 1], *cells])
    figures = {f"growth-{m}": growth_figure(frames[m], study.titles, order) for m in COMPARED}
    note = (
        "The project's own experts, one seed. Mean accuracy in percent on *report* with its 95 % interval, on the "
        "domains of the experts added so far and on all domains."
    )
    return Section("Experts added one by one", note, [markdown(["experts", *columns], rows)], (), figures)


def score_growth(study: Study, method: str) -> pd.DataFrame:
    """The rows of every number of experts under one method."""
    experiment = study.experiment("growth", method, prefix_recipes)
    return growth_table(run_growth(experiment, study.trainer.progress, has_ensemble=True))


def _cell(frame: pd.DataFrame, series: str, count: int) -> str:
    found = frame[(frame["series"] == series) & (frame["num_experts"] == count)].to_dict(orient="records")
    return "".join(f"{100 * r['value']:.1f} [{100 * r['low']:.1f}, {100 * r['high']:.1f}]" for r in found)
