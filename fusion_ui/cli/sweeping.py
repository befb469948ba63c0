"""The command that goes over the values of a parameter."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import (
    AsJson,
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
from fusion_ui.cli.evaluating import print_scores, warn_of_overlap
from fusion_ui.cli.terminal import clear_line, terminal_progress
from fusion_ui.errors import ParameterError


@app.command()
def sweep(
    recipe: Path,
    data: Data,
    alpha: Annotated[str | None, typer.Option(help="Values of alpha, separated by commas.")] = None,
    over: Annotated[
        str | None, typer.Option(help="PARAMETER=VALUES of the method; PARAMETER alone: eleven over its whole range.")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Find the best value alone, dropping early what can hardly win.")
    ] = False,
    report: Annotated[
        list[str] | None,
        typer.Option("--report", help="NAME=FILE of sentences kept back, on which the best value is then scored."),
    ] = None,
    relative: Annotated[
        bool, typer.Option("--relative", help="Per cent of what each domain's own expert scores, as on the page.")
    ] = False,
    as_json: AsJson = False,
    parameters: Set = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    pair_column: PairColumn = None,
    metrics: Metrics = None,
    threshold: Threshold = None,
) -> None:
    """Scores at several values of a parameter, alpha if not said, and the best mean.

    Give the *select* split as --data, and never the one whose score you then report.
    """
    from fusion_ui.evaluation.other_metrics import score_otherwise
    from fusion_ui.tasks.scales import PERCENT

    if relative and best:
        raise ParameterError("--best compares accuracies themselves. Leave --relative or --best out.")
    if report and not best:
        raise ParameterError("--report scores the value that --best finds. Give --best too, or leave --report out.")
    workspace = open_workspace()
    plan = workspace.plan(recipe_from(recipe, parameters))
    name, values = _read_values(type(plan.method), alpha, over)
    select, kept = (
        domains_from(files, text_column, label_column, pair_column, metrics, plan.experts, threshold)
        for files in (data, report or [])
    )
    warn_of_overlap(plan, [*select, *kept])
    evaluation = workspace.evaluation_of(select, plan)
    in_domain = [expert.name for expert in plan.experts]
    if best:
        last = workspace.evaluation_of(kept, plan) if kept else None
        _follow(
            workspace.find_best(plan, name, values, evaluation, in_domain, last, terminal_progress()), name, as_json
        )
        return
    points, merits, scale = [], [], PERCENT
    own = _score_own_experts(workspace, plan, evaluation) if relative else {}
    for value, scores in workspace.sweep(plan, name, values, evaluation, in_domain, terminal_progress()):
        scores = scores.relative_to(own) if relative else scores
        points.append({name: value, **scores.describe()})
        merits.append(scores.merit)
        scale = scores.scale
        if not as_json:
            others = {} if relative else score_otherwise(scores.candidate, evaluation, in_domain)
            print_scores(f"{name} {value:g}", scores, (), others)
    top = points[merits.index(max(merits))]
    if as_json:
        print(json.dumps({"points": points, "best": {name: top[name], "mean": top["mean"]}}, indent=2))
    else:
        print(f"best mean on these files: {scale.show(top['mean'])} at {name} {top[name]:g}")


def _score_own_experts(workspace: Any, plan: Any, evaluation: Any) -> dict[str, float]:
    """Domain -> accuracy of the expert of its name.

    Raises:
        ParameterError: no domain has an expert of its name.
    """
    from fusion_ui.evaluation.references import expert_candidates

    found = {}
    for name, expert in expert_candidates(plan).items():
        if any(encoded.domain.name == name for encoded in evaluation.domains):
            *_, last = workspace.evaluate([expert], evaluation, [name])
            found |= {score.domain: score.value for score in last.scores if score.domain == name}
    if not found:
        raise ParameterError("--relative needs domains with the names of their experts. Give --data EXPERT=FILE.")
    return found


def _read_values(method: Any, alpha: str | None, over: str | None) -> tuple[str, list[float]]:
    """The parameter to go over and its values, all accepted by the method."""
    from fusion_ui.parameters import find_range

    if alpha is not None and over is not None:
        raise ParameterError("--alpha and --over both say what to go over. Give one of them.")
    name, _, text = (over or f"alpha={alpha or ''}").partition("=")
    declared = find_range(method, method.title, name)
    values = [declared.parse(part.strip()) for part in text.split(",")] if text else list(declared.spread(11))
    for value in values:
        declared.check(value, name, method.title)
    return name, values


def _follow(search: Generator[Any, None, Any], name: str, as_json: bool) -> None:
    """Print a line whenever more is known of a value, and in the end what was found."""
    while True:
        try:
            row = next(search)
        except StopIteration as end:
            found = end.value
            break
        if not as_json:
            clear_line()
            state = "dropped" if row.is_dropped else row.scores.scale.show(row.scores.mean)
            print(f"{name} {row.value:<8g} {state:>7} after {row.num_answers} sentences")
    if as_json:
        print(json.dumps(found.describe(), indent=2))
        return
    clear_line()
    outcome, (low, high) = found.outcome, found.outcome.top.scores.interval
    scale = outcome.top.scores.scale
    mean = f"{scale.show(outcome.top.scores.mean)} {scale.show_interval(low, high)}"
    print(f"best {name}: {outcome.best:g}, mean {mean}; {outcome.sentence}")
    print(f"{outcome.num_answers:,} answers needed, {outcome.num_answers_full:,} for every value")
    if found.report:
        low, high = found.report.interval
        print_scores(f"on the sentences kept back {found.report.scale.show_interval(low, high)}", found.report)
