"""How many sentences RegMean's statistics need.

Measured on the experts' training text, as in the paper, since no other split is large enough. Of one draw, every size
holds all sentences of the smaller sizes.
"""

from __future__ import annotations

import pandas as pd

from benchmarks.protocol.section import Section, markdown
from benchmarks.protocol.spread import MEAN, cell
from benchmarks.protocol.study import Study
from fusion_ui.methods import find_method
from fusion_ui.plots.parameter_curve import Level
from fusion_ui.plots.sample_size import sample_size_figure


def run(study: Study) -> Section:
    """A row a size, over all draws, under the simple mean, which needs none."""
    sizes, draws = study.settings.sizes, range(study.settings.num_draws)
    keys = [(size, draw) for draw in draws for size in sizes]
    frame = pd.concat([study.keep(f"size-{s}-{d}", lambda s=s, d=d: score_size(study, s, d)) for s, d in keys])
    mean = study.keep("size-none", lambda: score_without(study))
    columns, rows = {**study.titles, MEAN: "mean"}, []
    rows.append(["Simple mean", *(f"{100 * v:.1f}" for v in [*mean["value"], mean["value"].mean()])])
    averages = frame.groupby(["num_examples", "draw"], as_index=False)["value"].mean().assign(domain=MEAN)
    everything = pd.concat([frame, averages])
    for size in sizes:
        own = everything[everything["num_examples"] == size]
        rows.append([f"{size:,}", *(cell(own[own["domain"] == name]["value"].tolist()) for name in columns)])
    levels = [Level("Simple mean", find_method("simple_mean").color, float(mean["value"].mean()))]
    figure = sample_size_figure(frame, study.titles, levels)
    note = (
        f"RegMean of the project's own experts on *report*, accuracy in percent: mean (smallest to largest) of "
        f"{len(draws)} draws of so many sentences a domain from the training text."
    )
    by_size = averages.groupby("num_examples")["value"].mean()
    lead = {size: 100 * (float(by_size[size]) - float(mean["value"].mean())) for size in sizes}
    said = "; ".join(f"{size:,} sentences {points:+.1f}" for size, points in lead.items())
    findings = [f"RegMean's mean against the simple mean's, in points, by sentences a domain: {said}."]
    table = markdown(["sentences", *columns.values()], rows)
    return Section("Number of calibration sentences", note, [table], findings, {"calibration": figure})


def score_size(study: Study, size: int, draw: int) -> pd.DataFrame:
    """The merge on one draw of so many sentences."""
    files = {domain.name: domain.train for domain in study.project.domains}
    recipe = study.recipe("regmean", study.shipped, files, size, draw)
    study.write_recipe(f"calibration-{size}-{draw}", recipe)
    scores = study.score(study.workspace.candidate(study.workspace.plan(recipe)))
    rows = [{"num_examples": size, "draw": draw, "domain": name, "value": value} for name, value in scores.items()]
    return pd.DataFrame(rows)


def score_without(study: Study) -> pd.DataFrame:
    """The simple mean, which needs no text."""
    plan = study.workspace.plan(study.recipe("simple_mean", study.shipped))
    scores = study.score(study.workspace.candidate(plan))
    return pd.DataFrame([{"domain": name, "value": value} for name, value in scores.items()])
