"""Experts whose training began from one head, against experts that began from heads of their own.

Every set of experts has its own head, so experts taken from as many sets as there are experts have different heads.
Expert i of set s + i (counted round) is taken for the mixed merge s, so both kinds of merge are of the same experts,
each taking part once: what differs is who is merged with whom. With fewer sets than domains, as many domains take part.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.protocol.all_experts import COLORS, ENSEMBLE, tidy
from benchmarks.protocol.section import Section, markdown
from benchmarks.protocol.spread import MEAN, SPREAD, cell, points, with_means
from benchmarks.protocol.study import Study
from fusion_ui.plots.spread import spread_figure

SAME, DIFFERENT = "same head", "different heads"


def choose_seeds(names: tuple[str, ...], num_seeds: int, start: int, is_same: bool) -> dict[str, int]:
    """Expert name -> the set that it is taken from."""
    taking_part = names[: min(len(names), num_seeds)]
    return {name: start if is_same else (start + i) % num_seeds for i, name in enumerate(taking_part)}


def run(study: Study) -> Section:
    """Means over the domains that take part."""
    frames = []
    for kind in (SAME, DIFFERENT):
        for seed in range(study.settings.num_seeds):
            name = f"heads-{'same' if kind == SAME else 'different'}-{seed}"
            frame = study.keep(name, lambda kind=kind, seed=seed: score_mix(study, seed, kind == SAME))
            frames.append(with_means(frame).assign(kind=kind))
    found = pd.concat(frames, ignore_index=True)
    means = found[found["domain"] == MEAN]
    rows, findings, candidates = [], [], list(dict.fromkeys(means["candidate"]))
    for candidate in candidates:
        values = {
            k: means[(means["candidate"] == candidate) & (means["kind"] == k)]["value"] for k in (SAME, DIFFERENT)
        }
        change = values[DIFFERENT].mean() - values[SAME].mean()
        rows.append([candidate, *(cell(values[k].tolist()) for k in values), f"{100 * change:+.1f}"])
    for kind in (SAME, DIFFERENT):
        wide = means[means["kind"] == kind].pivot(index="seed", columns="candidate", values="value")
        gains = (wide["RegMean"] - wide["Simple mean"]).tolist()
        findings.append(f"{kind.capitalize()}: RegMean lies {points(gains)} points from the simple mean.")
    domains = ", ".join(study.titles[name] for name in choose_seeds(study.names, study.settings.num_seeds, 0, True))
    note = f"Mean accuracy in percent over {domains}: {SPREAD}. Both columns merge the same experts, in other company."
    named = means.rename(columns={"kind": "group", "candidate": "series", "seed": "run"})
    figure = spread_figure(named, {k: k for k in (SAME, DIFFERENT)}, {c: COLORS[c] for c in candidates})
    table = markdown(["", SAME, DIFFERENT, "difference"], rows)
    return Section("Same and different heads", note, [table], findings, {"heads": figure})


def score_mix(study: Study, start: int, is_same: bool) -> pd.DataFrame:
    """The merges of experts with one head, or with a head each, on their own domains."""
    seeds = choose_seeds(study.names, study.settings.num_seeds, start, is_same)
    models: dict[str, Path] = {name: study.expert(name, seed).directory for name, seed in seeds.items()}
    what = f"heads-{'same' if is_same else 'different'}-{start}"
    scores = {title: study.score(c, models) for title, c in study.merges(what, models).items()}
    scores[ENSEMBLE] = study.score(study.ensemble(models), models)
    return tidy(start, scores)
