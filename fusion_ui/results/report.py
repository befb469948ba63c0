"""One page of HTML on a run, which needs nothing else: settings, figures, numbers, experts, method, recipe."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.evaluation.comparison import CandidateScores
from fusion_ui.evaluation.scores import describe_unit, intervals_of
from fusion_ui.merging.pinning import pinned_recipe, portable_recipe
from fusion_ui.merging.plan import MergePlan
from fusion_ui.results.licences import describe_terms, read_terms
from fusion_ui.settings import ASSETS
from fusion_ui.tasks import metric_title
from fusion_ui.tasks.scales import Scale

TEMPLATE = "report.html"
PACKAGES = ("torch", "transformers", "safetensors", "huggingface_hub", "plotly")


@dataclass(frozen=True, eq=False)
class Report:
    """What a report tells.

    Attributes:
        title: of the project.
        plan: the merge that it is about.
        picked: name of that merge among the candidates.
        rows: everything that was evaluated, that merge among it or nothing at all.
        domains: domain name -> title, in order.
        figures: captions and figures as Plotly draws them, their texts escaped.
        created: the date.
    """

    title: str
    plan: MergePlan
    picked: str
    rows: Sequence[CandidateScores]
    domains: Mapping[str, str]
    figures: Sequence[tuple[str, Mapping[str, Any]]]
    created: str


def render_report(report: Report) -> str:
    """The report as HTML. Every text is escaped by the template; no path of this machine stands in it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined)
    plan, experts = report.plan, report.plan.experts
    terms = [read_terms(expert) for expert in experts]
    scores = [score for row in report.rows for score in row.scores]
    recipe = portable_recipe(pinned_recipe(plan)).model_dump(mode="json")
    return environment.get_template(TEMPLATE).render(
        title=report.title,
        picked=plan.title,
        created=report.created,
        method=type(plan.method),
        summary=type(plan.method).summary(),
        settings=_settings(plan),
        figures=[{"caption": caption} for caption, _ in report.figures],
        drawn=[figure for _, figure in report.figures],
        plotly=Markup(_plotly()),  # a library, not anybody's text
        domains=_headers(report),
        metric=describe_unit(scores),
        intervals=intervals_of(scores),
        rows=[_row(row, report) for row in report.rows],
        read_on=_read_on(report),
        experts=[
            (expert.name, *_where(expert), f"{weight:.3g}", term.licence)
            for expert, weight, term in zip(experts, plan.recipe.weights, terms, strict=True)
        ],
        licences=describe_terms([expert.name for expert in experts], terms),
        versions=[("Python", platform.python_version()), *((name, version(name)) for name in PACKAGES)],
        recipe=json.dumps(recipe, indent=2, ensure_ascii=False),
    )


def _plotly() -> str:
    import plotly

    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return script.read_text(encoding="utf-8")


def _settings(plan: MergePlan) -> list[tuple[str, str]]:
    settings = [("method", type(plan.method).title)]
    settings += [(name, str(value)) for name, value in vars(plan.method).items()]
    if plan.layer_scaling:
        settings.append(("then", plan.layer_scaling.describe()))
    settings += [(f"rule for {rule.parameters}", rule.effect) for rule in plan.recipe.rules]
    if plan.method.needs_calibration():
        how = plan.recipe.statistics
        settings.append(("calibration", f"at most {how.num_examples} sentences an expert, seed {how.seed}"))
    if plan.base is not None:
        settings.append(("base model", " ".join(_where(plan.base))))
    return [*settings, ("labels", ", ".join(plan.all_labels))]


def _where(model: Checkpoint) -> tuple[str, str]:
    return (model.source, model.revision) if model.revision else ("not from a hub", "–")


def _headers(report: Report) -> list[str]:
    """The domains' titles, with their metrics where these differ."""
    metrics = {score.domain: metric_title(score.metric) for row in report.rows for score in row.scores}
    if len({*metrics.values()}) < 2:
        return list(report.domains.values())
    return [", ".join(filter(None, [title, metrics.get(name)])) for name, title in report.domains.items()]


def _row(row: CandidateScores, report: Report) -> dict[str, Any]:
    scores = {score.domain: score for score in row.scores}
    found = [scores.get(domain) for domain in report.domains]
    cells = [_cell(s.scale, s.value, (s.low, s.high)) if s and s.num_examples else ("–", "") for s in found]
    return {
        "title": row.candidate.title,
        "is_picked": row.candidate.name == report.picked,
        "cells": [*cells, _cell(row.scale, row.mean, row.interval) if len(scores) == len(found) else ("–", "")],
    }


def _cell(scale: Scale, value: float, interval: tuple[float, float]) -> tuple[str, str]:
    return scale.write(value), scale.write_interval(*interval)


def _read_on(report: Report) -> str:
    """On which split, and how many sentences, the numbers were read; from fewest to most where models differ in it."""
    counts = dict[str, set[int]]()
    for score in (score for row in report.rows for score in row.scores):
        counts.setdefault(score.domain, set()).add(score.num_examples)
    splits = sorted({score.split for row in report.rows for score in row.scores})
    each = ", ".join(
        f"{report.domains.get(domain, domain)} {' to '.join(map(str, sorted({min(found), max(found)})))}"
        for domain, found in counts.items()
    )
    return f"Read on {' and '.join(splits)}; sentences: {each}." if counts else ""
