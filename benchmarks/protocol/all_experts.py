"""All experts merged: on their own domains, and on a domain that none of the merged experts was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from benchmarks.protocol.section import Section
from benchmarks.protocol.settings import METHODS as MERGED
from benchmarks.protocol.spread import MEAN, SPREAD, compare, spread_table, summarise, with_means
from benchmarks.protocol.study import ACCURACY, MACRO_F1, Study
from fusion_ui.evaluation.combined import ENSEMBLE_COLOR
from fusion_ui.methods import METHODS, find_method
from fusion_ui.plots.spread import spread_figure

ENSEMBLE, OWN, BEST, MULTITASK = "Ensemble", "Each domain's own expert", "Best single expert", "Multi-task model"
OTHERS = "The other experts, mean"
COLORS = {method.title: method.color for method in METHODS}
COLORS |= {ENSEMBLE: ENSEMBLE_COLOR, OWN: "#c29b00", BEST: "#9c6ade", OTHERS: "#c29b00", MULTITASK: "#c2415a"}


def run(study: Study) -> Section:
    """Both tables, over every seed."""
    seeds = range(study.settings.num_seeds)
    inside = pd.concat([study.keep(f"in-domain-{s}", lambda s=s: score_inside(study, s)) for s in seeds])
    outside = pd.concat([study.keep(f"out-of-domain-{s}", lambda s=s: score_outside(study, s)) for s in seeds])
    inside_f1, outside_f1 = (
        pd.concat([study.keep(f"{where}-{MACRO_F1}-{s}", lambda s=s, f=f: f(study, s, MACRO_F1)) for s in seeds])
        for where, f in (("in-domain", score_inside), ("out-of-domain", score_outside))
    )
    titles, tables, figures, findings = study.titles, [], {}, []
    columns = {**titles, MEAN: "mean"}
    for where, frame in (("in-domain", with_means(inside)), ("out-of-domain", with_means(outside))):
        tables.append(f"{where.capitalize()}:\n\n{spread_table(frame, columns)}")
        named = frame.rename(columns={"domain": "group", "candidate": "series", "seed": "run"})
        found = {name: COLORS[name] for name in named["series"].unique()}
        figures[f"all_experts-{where}"] = spread_figure(named, columns, found)
        findings.append(f"{where.capitalize()}: {summarise(frame, 'RegMean')}")
        for other in [name for name in found if name != "RegMean"]:
            findings.append(f"{where.capitalize()}: {compare(frame, 'RegMean', other, titles)}")
    for where, frame in (("in-domain", with_means(inside_f1)), ("out-of-domain", with_means(outside_f1))):
        tables.append(f"{where.capitalize()}, macro-F1 of the same answers:\n\n{spread_table(frame, columns)}")
    note = (
        f"{study.settings.num_seeds} sets of experts, each from one head. Accuracy in percent on *report*: {SPREAD}, "
        f"{study.settings.num_report} sentences a domain. Out-of-domain, each column merges the experts of the other "
        "domains. The best single expert is told on these very sentences, once for a set in-domain and for every "
        "domain out-of-domain, which flatters it."
    )
    return Section("All experts merged", note, tables, findings, figures)


def name_rivals() -> list[str]:
    """What else makes one answer of several experts, and so competes with RegMean."""
    return [*(find_method(method).title for method in MERGED if method != "regmean"), ENSEMBLE]


def score_inside(study: Study, seed: int, metric: str = ACCURACY) -> pd.DataFrame:
    """One set: its merge and what that is held against, on every domain."""
    models = study.experts(seed)
    scores = {title: study.score(c, metric=metric) for title, c in study.merges(f"all-{seed}", models).items()}
    scores[ENSEMBLE] = study.score(study.ensemble(models), metric=metric)
    alone = _score_alone(study, seed, metric)
    scores[OWN] = {name: alone[name][name] for name in models}
    scores[BEST] = max(alone.values(), key=lambda values: sum(values.values()))
    scores[MULTITASK] = study.score(study.single("multitask", study.multitask(seed).directory), metric=metric)
    return tidy(seed, scores)


def score_outside(study: Study, seed: int, metric: str = ACCURACY) -> pd.DataFrame:
    """One set: on every domain the merge of the experts of all others."""
    models, alone = study.experts(seed), _score_alone(study, seed, metric)
    scores: dict[str, dict[str, float]] = {}
    for name in models:
        rest = {other: model for other, model in models.items() if other != name}
        candidates = {**study.merges(f"without-{name}-{seed}", rest), ENSEMBLE: study.ensemble(rest)}
        for title, candidate in candidates.items():
            scores.setdefault(title, {}).update(study.score(candidate, [name], metric))
        others = [alone[other][name] for other in rest]
        scores.setdefault(BEST, {})[name] = max(others)
        scores.setdefault(OTHERS, {})[name] = sum(others) / len(others)
    return tidy(seed, scores)


def _score_alone(study: Study, seed: int, metric: str) -> dict[str, dict[str, float]]:
    return {name: study.score(study.single(name, model), metric=metric) for name, model in study.experts(seed).items()}


def tidy(seed: int, scores: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """A row a candidate and domain."""
    rows: list[dict[str, Any]] = [
        {"seed": seed, "candidate": title, "domain": domain, "value": value}
        for title, values in scores.items()
        for domain, value in values.items()
    ]
    return pd.DataFrame(rows)
