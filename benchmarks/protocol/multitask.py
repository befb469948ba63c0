"""The multi-task model and the merge: what either scores, and what either takes."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.protocol.all_experts import COLORS, MULTITASK, score_inside
from benchmarks.protocol.section import Section, markdown
from benchmarks.protocol.spread import MEAN, compare, points, with_means
from benchmarks.protocol.study import Study
from fusion_ui.plots.cost import cost_figure
from fusion_ui.workspace import Workspace


def run(study: Study) -> Section:
    """A row a set of experts."""
    seeds = range(study.settings.num_seeds)
    took = pd.concat([study.keep(f"seconds-{s}", lambda s=s: measure_seconds(study, s)) for s in seeds])
    scores = with_means(pd.concat([study.keep(f"in-domain-{s}", lambda s=s: score_inside(study, s)) for s in seeds]))
    means = scores[scores["domain"] == MEAN].pivot(index="seed", columns="candidate", values="value")
    rows = []
    for row in took.to_dict(orient="records"):
        own = means.loc[row["seed"]]
        accuracies = [f"{100 * own['RegMean']:.1f}", f"{100 * own[MULTITASK]:.1f}"]
        seconds = [f"{row[name]:.1f}" for name in ("grams", "merge", "multitask", "experts")]
        rows.append([str(row["seed"]), *accuracies, *seconds])
    headers = ["seed", "RegMean, mean", "multi-task, mean", "Gram matrices, s", "merge, s", "multi-task training, s"]
    table = markdown([*headers, "training of the experts, s"], rows)
    ratio = took["multitask"] / (took["grams"] + took["merge"])
    lost = (means["RegMean"] - means[MULTITASK]).tolist()
    findings = [
        f"Training the multi-task model took {ratio.min():.2g} to {ratio.max():.2g} times as long as the merge with "
        f"its Gram matrices; RegMean's mean lies {points(lost)} points from it.",
        compare(scores, "RegMean", MULTITASK, study.titles),
    ]
    note = (
        "Seconds on this machine. The Gram matrices and the merge are computed anew for this table. The experts have "
        "to be trained for a merge too, but each by its owner, on text that nobody else sees."
    )
    figure = cost_figure(_costs(took, means), {"RegMean": COLORS["RegMean"], MULTITASK: COLORS[MULTITASK]})
    return Section("Against a multi-task model", note, [table], findings, {"multitask": figure})


def _costs(took: pd.DataFrame, means: pd.DataFrame) -> pd.DataFrame:
    """A row for each set and way: the seconds of the merge with its Gram matrices, or of training, and the mean."""
    rows = []
    for row in took.to_dict(orient="records"):
        seconds = {"RegMean": row["grams"] + row["merge"], MULTITASK: row["multitask"]}
        for series, value in seconds.items():
            score = means.loc[row["seed"], series]
            rows.append({"series": series, "run": row["seed"], "seconds": value, "value": score})
    return pd.DataFrame(rows)


def measure_seconds(study: Study, seed: int) -> pd.DataFrame:
    """How long statistics, merge and training of one set took."""
    recipe = study.write_recipe(f"multitask-{seed}-regmean", study.recipe("regmean", study.experts(seed)))
    multitask = study.multitask(seed)
    with tempfile.TemporaryDirectory() as empty:  # so that nothing is known yet
        workspace = Workspace(study.workspace.settings.model_copy(update={"cache_dir": Path(empty)}))
        plan = workspace.plan(recipe)
        started = time.perf_counter()
        workspace.measure(plan, study.trainer.progress)
        measured = time.perf_counter()
        workspace.merge(plan, study.trainer.progress)
        merged = time.perf_counter()
    experts = sum(study.expert(name, seed).seconds for name in study.names)
    row = {"seed": seed, "grams": measured - started, "merge": merged - measured}
    return pd.DataFrame([row | {"multitask": multitask.seconds, "experts": experts}])
