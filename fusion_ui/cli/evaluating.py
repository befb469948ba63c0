"""The command that evaluates one model."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import (
    AsJson,
    Choices,
    Data,
    LabelColumn,
    Metrics,
    PairColumn,
    Set,
    TextColumn,
    Threshold,
    domains_from,
    open_workspace,
    recipe_from,
)
from fusion_ui.cli.terminal import clear_line, print_notes, terminal_progress


@app.command()
def evaluate(
    what: Annotated[str, typer.Argument(help="A recipe, or the directory of a model.")],
    data: Data,
    as_json: AsJson = False,
    parameters: Set = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    pair_column: PairColumn = None,
    metrics: Metrics = None,
    threshold: Threshold = None,
    choices: Choices = None,
) -> None:
    """The metric of each data file with a 95 % interval: accuracy, F1, correlation, as its model's task has it."""
    from fusion_ui.checkpoints.finding import find_checkpoint
    from fusion_ui.evaluation.candidates import checkpoint_candidate
    from fusion_ui.evaluation.guessing import CHANCE, MAJORITY
    from fusion_ui.evaluation.other_metrics import count_cut, describe_cuts, score_otherwise
    from fusion_ui.sources.local import is_directory

    workspace, started = open_workspace(), time.perf_counter()
    ask = partial(
        domains_from, data, text_column, label_column, pair_column, metrics, threshold=threshold, choices=choices
    )
    in_domain = list[str]()
    if is_directory(what):
        model = find_checkpoint(Path(what).name, what, workspace.settings)
        candidate = checkpoint_candidate("model", model.name, model)
        evaluation = workspace.evaluation(ask([model]), model)
    else:
        plan = workspace.plan(recipe_from(Path(what), parameters))
        domains = ask(plan.experts)
        warn_of_overlap(plan, domains)
        candidate, evaluation = workspace.candidate(plan), workspace.evaluation_of(domains, plan)
        in_domain = [expert.name for expert in plan.experts]
    scores = list(workspace.evaluate([candidate], evaluation, in_domain, terminal_progress()))[-1]
    guesses = [row for guess in (CHANCE, MAJORITY) for row in workspace.evaluate([guess], evaluation, in_domain)]
    others = score_otherwise(candidate, evaluation, in_domain)
    print_notes(describe_cuts(evaluation), "warning")
    seconds = time.perf_counter() - started
    if as_json:
        beside = {row.candidate.name: row.describe() for row in guesses if row.scores}
        told = {"model": what, "seconds": round(seconds, 3), **scores.describe(), **beside}
        told["other_metrics"] = [asdict(score) for found in others.values() for score in found]
        print(json.dumps(told | {"num_cut": count_cut(evaluation)}, indent=2))
    else:
        print_scores(candidate.title, scores, guesses, others)


def warn_of_overlap(plan: Any, domains: list[Any]) -> None:
    """Name the sentences that the merge is calibrated on and evaluated on."""
    from fusion_ui.domains.checks import describe_overlaps

    found = describe_overlaps(domains, plan.calibration_text)
    print_notes((f"{sentence} The merge is calibrated on the latter." for sentence in found), "warning")


def print_scores(
    title: str, scores: Any, guesses: Sequence[Any] = (), others: Mapping[str, Sequence[Any]] = MappingProxyType({})
) -> None:
    """The mean, and a line for each domain.

    Args:
        guesses: scores of what needs no model, which are told beside the others.
        others: domain name -> scores of the same answers by other metrics.
    """
    from fusion_ui.evaluation.scores import metric_of
    from fusion_ui.tasks import metric_title

    clear_line()
    print(f"{title}: mean {metric_of(scores.scores).lower()} {scores.scale.show(scores.mean)}")
    for s in scores.scores:
        value = f"{s.scale.show(s.value):>6}  {s.scale.show_interval(s.low, s.high)}"
        known = [(row.candidate.title, g.value) for row in guesses for g in row.scores if g.domain == s.domain]
        also = [(metric_title(o.metric), o.scale.show(o.value)) for o in others.get(s.domain, ())]
        also += [(name, s.scale.show(guessed)) for name, guessed in known]
        beside = "".join(f"; {name[0].lower()}{name[1:]} {value}" for name, value in also)
        print(f"  {s.domain:<12} {value}  {metric_title(s.metric)}, {s.num_examples} of {s.split}, {s.role}{beside}")
