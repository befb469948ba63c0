"""The command that evaluates one model."""

from __future__ import annotations

import json
import time
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
        warn_of_overlap(plan, domains)
        candidate, evaluation = workspace.candidate(plan), workspace.evaluation_of(domains, plan)
        in_domain = [expert.name for expert in plan.experts]
    scores = list(workspace.evaluate([candidate], evaluation, in_domain, terminal_progress()))[-1]
    seconds = time.perf_counter() - started
    if as_json:
        print(json.dumps({"model": what, "seconds": round(seconds, 3), **scores.describe()}, indent=2))
    else:
        print_scores(candidate.title, scores)


def warn_of_overlap(plan: Any, domains: list[Any]) -> None:
    """Name the sentences that the merge is calibrated on and evaluated on."""
    from fusion_ui.domains.checks import describe_overlaps

    found = describe_overlaps(domains, plan.calibration_text)
    print_notes((f"{sentence} The merge is calibrated on the latter." for sentence in found), "warning")


def print_scores(title: str, scores: Any) -> None:
    """The mean, and a line for each domain."""
    clear_line()
    print(f"{title}: mean {scores.mean:.1%}")
    for s in scores.scores:
        print(f"  {s.domain:<12} {s.value:6.1%}  [{s.low:.1%}, {s.high:.1%}]  {s.num_examples} of {s.split}, {s.role}")
