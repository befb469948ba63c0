"""One domain divided between two owners, of whom each has most of one label (Jin et al., ICLR 2023, section 4)."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmarks.protocol.all_experts import COLORS, ENSEMBLE, tidy
from benchmarks.protocol.section import Section
from benchmarks.protocol.spread import SPREAD, compare, spread_table
from benchmarks.protocol.study import Study
from fusion_ui.domains.domain import Domain
from fusion_ui.plots.spread import spread_figure
from fusion_ui.sources.files import replace_file

SIDES = ("first", "second")
ALONE = {side: f"Expert of the {side} side" for side in SIDES}
WHOLE = "Trained on all of it"
OWN_COLORS = {ALONE["first"]: "#c29b00", ALONE["second"]: "#b5488d", WHOLE: "#17a2b8"}


def divide(domain: Domain, share: float) -> tuple[Domain, Domain]:
    """Two domains that hold every sentence once: `share` of each label, rounded up, goes to one side.

    The labels in alphabetical order go to the first and the second side in turn.
    """
    sides: tuple[list[int], list[int]] = ([], [])
    for number, label in enumerate(sorted(set(domain.labels))):
        own = [i for i, found in enumerate(domain.labels) if found == label]
        count = math.ceil(share * len(own))
        sides[number % 2].extend(own[:count])
        sides[1 - number % 2].extend(own[count:])
    first, second = (_take(domain, name, sorted(rows)) for name, rows in zip(SIDES, sides, strict=True))
    return first, second


def _take(domain: Domain, side: str, rows: list[int]) -> Domain:
    texts, labels = tuple(domain.texts[i] for i in rows), tuple(domain.labels[i] for i in rows)
    pairs = tuple(domain.pairs[i] for i in rows) if domain.pairs else ()
    return replace(domain, name=side, title=f"{domain.title}, {side} side", texts=texts, labels=labels, pairs=pairs)


def run(study: Study) -> Section:
    """A row a candidate, on the domain that was divided."""
    name = study.names[0]
    seeds, share = range(study.settings.num_seeds), study.settings.major_share
    found = pd.concat([study.keep(f"non-iid-{s}", lambda s=s: score_sides(study, name, s)) for s in seeds])
    columns = {name: study.titles[name]}
    candidates = list(dict.fromkeys(found["candidate"]))
    named = found.rename(columns={"domain": "group", "candidate": "series", "seed": "run"})
    colors = {c: COLORS.get(c) or OWN_COLORS[c] for c in candidates}
    first, second = divide(study.training_text(name), share)
    note = (
        f"The training text of {study.titles[name]} in two: {share:.0%} of one label and {1 - share:.0%} of the other "
        f"on the one side ({len(first.texts)} sentences), the rest on the other ({len(second.texts)}). Each side's "
        f"statistics are measured on its own text. Accuracy in percent on *report*: {SPREAD}."
    )
    findings = [compare(found, "RegMean", c, study.titles) for c in candidates if c != "RegMean"]
    figure = spread_figure(named, columns, colors)
    return Section("One domain, divided unevenly", note, [spread_table(found, columns)], findings, {"non_iid": figure})


def score_sides(study: Study, name: str, seed: int) -> pd.DataFrame:
    """Both sides alone and merged, and the expert that had all of the text."""
    sides = divide(study.training_text(name), study.settings.major_share)
    models = {side.name: study.trainer.train([side], study.settings.seeded(seed)).directory for side in sides}
    files = {side.name: write_text(study, side) for side in sides}
    candidates = {ALONE[side]: study.single(side, model) for side, model in models.items()}
    candidates |= study.merges(f"non-iid-{seed}", models, files)
    candidates |= {ENSEMBLE: study.ensemble(models), WHOLE: study.single(name, study.expert(name, seed).directory)}
    return tidy(seed, {title: study.score(candidate, [name]) for title, candidate in candidates.items()})


def write_text(study: Study, side: Domain) -> Path:
    """A side's sentences as a file that a recipe can name."""
    path = study.folder.parent / "text" / f"{side.fingerprint}.csv"
    if not path.is_file():
        with replace_file(path) as temporary:
            pd.DataFrame({"text": side.texts, "label": side.labels}).to_csv(temporary, index=False)
    return path
