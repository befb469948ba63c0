"""Commands that evaluate."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import (
    AsJson,
    Data,
    LabelColumn,
    PairColumn,
    Set,
    TextColumn,
    domains_from,
    open_workspace,
    recipe_from,
)
from fusion_ui.cli.terminal import clear_line, print_notes, terminal_progress
from fusion_ui.errors import ParameterError


@app.command()
def evaluate(
    what: Annotated[str, typer.Argument(help="A recipe, or the directory of a model.")],
    data: Data,
    as_json: AsJson = False,
    parameters: Set = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    pair_column: PairColumn = None,
) -> None:
    """Accuracy with a 95 % interval on each data file."""
    from fusion_ui.checkpoints.finding import find_checkpoint
    from fusion_ui.evaluation.candidates import checkpoint_candidate
    from fusion_ui.sources.local import is_directory

    workspace, started = open_workspace(), time.perf_counter()
    domains, in_domain = domains_from(data, text_column, label_column, pair_column), list[str]()
    if is_directory(what):
        model = find_checkpoint(Path(what).name, what, workspace.settings)
        candidate, evaluation = checkpoint_candidate("model", model.name, model), workspace.evaluation(domains, model)
    else:
        plan = workspace.plan(recipe_from(Path(what), parameters))
        _warn_of_overlap(plan, domains)
        candidate, evaluation = workspace.candidate(plan), workspace.evaluation_of(domains, plan)
        in_domain = [expert.name for expert in plan.experts]
    scores = list(workspace.evaluate([candidate], evaluation, in_domain, terminal_progress()))[-1]
    seconds = time.perf_counter() - started
    if as_json:
        print(json.dumps({"model": what, "seconds": round(seconds, 3), **_scores(scores)}, indent=2))
    else:
        _print_scores(candidate.title, scores)


@app.command()
def sweep(
    recipe: Path,
    data: Data,
    alpha: Annotated[
        str, typer.Option(help="Values of alpha, separated by commas.")
    ] = "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1",
    as_json: AsJson = False,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    pair_column: PairColumn = None,
) -> None:
    """Accuracy at several values of alpha, and the best mean. Give the *select* split here, not the reported one."""
    from fusion_ui.parameters import declared_parameters

    workspace = open_workspace()
    plan = workspace.plan(recipe_from(recipe, None))
    declared = declared_parameters(type(plan.method))
    if "alpha" not in declared:
        raise ParameterError(f"{plan.method.title} has no parameter 'alpha' to sweep. Choose regmean.")
    values = [declared["alpha"].parse(text.strip()) for text in alpha.split(",")]
    for value in values:
        declared["alpha"].check(value, "alpha", plan.method.title)
    domains = domains_from(data, text_column, label_column, pair_column)
    _warn_of_overlap(plan, domains)
    evaluation = workspace.evaluation_of(domains, plan)
    in_domain = [expert.name for expert in plan.experts]
    points = []
    for value, scores in workspace.sweep(plan, "alpha", values, evaluation, in_domain, terminal_progress()):
        points.append({"alpha": value, **_scores(scores)})
        if not as_json:
            _print_scores(f"alpha {value:g}", scores)
    best = max(points, key=lambda point: point["mean"])
    if as_json:
        print(json.dumps({"points": points, "best": {"alpha": best["alpha"], "mean": best["mean"]}}, indent=2))
    else:
        print(f"best mean on these files: {best['mean']:.1%} at alpha {best['alpha']:g}")


def _warn_of_overlap(plan: Any, domains: list[Any]) -> None:
    """Name the sentences that the merge is calibrated on and evaluated on."""
    from fusion_ui.domains.checks import describe_overlaps

    found = describe_overlaps(domains, plan.calibration_text)
    print_notes((f"{sentence} The merge is calibrated on the latter." for sentence in found), "warning")


def _scores(scores: Any) -> dict[str, Any]:
    return {"mean": scores.mean, "scores": [asdict(score) for score in scores.scores]}


def _print_scores(title: str, scores: Any) -> None:
    clear_line()
    print(f"{title}: mean {scores.mean:.1%}")
    for s in scores.scores:
        print(f"  {s.domain:<12} {s.value:6.1%}  [{s.low:.1%}, {s.high:.1%}]  {s.num_examples} of {s.split}, {s.role}")
