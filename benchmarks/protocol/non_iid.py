"""One domain divided between two owners, of whom each has most of one label (Jin et al., ICLR 2023, section 4)."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmarks.protocol.all_experts import COLORS, ENSEMBLE, tidy
from benchmarks.protocol.section import Section
from benchmarks.protocol.spread import SPREAD, compare, spread_table
from benchmarks.protocol.study import Study
from fusion_ui.domains.domain import Domain
from fusion_ui.evaluation import guessing
from fusion_ui.plots.spread import spread_figure
from fusion_ui.sources.files import replace_file

SIDES = ("first", "second")
ALONE = {side: f"Expert of the {side} side" for side in SIDES}
WHOLE = "Trained on all of it"
MAJORITY = guessing.MAJORITY.title
OWN_COLORS = {ALONE["first"]: "#c29b00", ALONE["second"]: "#b5488d", WHOLE: "#17a2b8", MAJORITY: guessing.GUESS_COLOR}


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
    """A row a candidate: on the domain that was divided, and on parts of it with the labels of either side."""
    name, share = choose_domain(study), study.settings.major_share
    found = pd.concat(
        [study.keep(f"non-iid-{s}", lambda s=s: score_sides(study, name, s)) for s in range(study.settings.num_seeds)]
    )
    columns = {name: study.titles[name], **{side: f"labels as on the {side} side" for side in SIDES}}
    candidates = list(dict.fromkeys(found["candidate"]))
    named = found.rename(columns={"domain": "group", "candidate": "series", "seed": "run"})
    colors = {c: COLORS.get(c) or OWN_COLORS[c] for c in candidates}
    first, second = divide(study.training_text(name), share)
    note = (
        f"The training text of {study.titles[name]}, whose labels are the most even, in two: {share:.0%} of one label "
        f"and {1 - share:.0%} of the other on the one side ({len(first.texts)} sentences), the rest on the other "
        f"({len(second.texts)}); each side's expert reads its text {study.settings.divided_epochs} times, that of "
        f"all of it {study.settings.training.num_epochs} times. Each side's statistics are measured on its own text. "
        f"Accuracy in percent on *report*: {SPREAD}. Divided alike, *report* shows what either expert "
        f"learned: it should be above {MAJORITY.lower()} on its own side's labels."
    )
    whole = found[found["domain"] == name]
    findings = [compare(whole, "RegMean", c, study.titles) for c in candidates if c not in ("RegMean", MAJORITY)]
    figure = spread_figure(named, columns, colors)
    return Section("One domain, divided unevenly", note, [spread_table(found, columns)], findings, {"non_iid": figure})


def choose_domain(study: Study) -> str:
    """The domain whose most frequent label is rarest, so that neither side is a handful of sentences."""

    def find_majority(name: str) -> float:
        labels = study.training_text(name).labels
        return max(Counter(labels).values()) / len(labels)

    return min(study.names, key=find_majority)


def score_sides(study: Study, name: str, seed: int) -> pd.DataFrame:
    """Both sides alone and merged, and the expert that had all of the text; on all of *report*, and on its sides."""
    text, how = study.training_text(name), study.settings.dividing(seed)
    sides = divide(text, study.settings.major_share)
    models = {side.name: study.trainer.train([side], how).directory for side in sides}
    files = {side.name: write_text(study, side) for side in sides}
    candidates = {ALONE[side]: study.single(side, model) for side, model in models.items()}
    candidates |= study.merges(f"non-iid-{seed}", models, files)
    candidates |= {
        ENSEMBLE: study.ensemble(models),
        WHOLE: study.single(name, study.expert(name, seed).directory),
        MAJORITY: guessing.MAJORITY,
    }
    (report,) = (encoded.domain for encoded in study.report.domains if encoded.domain.name == name)
    parts = [report, *divide(report, study.settings.major_share)]
    on = study.workspace.evaluation(parts, study.trainer.base, study.trainer.label_names)
    return tidy(seed, {title: study.score(candidate, on=on) for title, candidate in candidates.items()})


def write_text(study: Study, side: Domain) -> Path:
    """A side's sentences as a file that a recipe can name."""
    path = study.folder.parent / "text" / f"{side.fingerprint}.csv"
    if not path.is_file():
        with replace_file(path) as temporary:
            pd.DataFrame({"text": side.texts, "label": side.labels}).to_csv(temporary, index=False)
    return path
