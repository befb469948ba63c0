"""The command that writes a run down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import (
    Data,
    LabelColumn,
    Metrics,
    PairColumn,
    Set,
    TextColumn,
    Threshold,
    domains_from,
    open_workspace,
)
from fusion_ui.cli.arguments import recipe_from as read
from fusion_ui.cli.evaluating import warn_of_overlap
from fusion_ui.cli.terminal import clear_line, terminal_progress
from fusion_ui.errors import SourceError


@app.command()
def report(
    recipe: Path,
    data: Data,
    out: Annotated[Path, typer.Option(help="New HTML file.")],
    title: Annotated[str, typer.Option(help="What stands at its top.")] = "A merge",
    parameters: Set = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    pair_column: PairColumn = None,
    metrics: Metrics = None,
    threshold: Threshold = None,
) -> None:
    """Evaluate a recipe's merge and its experts, and write one HTML page: settings, figure, numbers, recipe."""
    from fusion_ui.sources.files import replace_file
    from fusion_ui.takeaway.reporting import draw_accuracy, evaluate_for_report, write_report

    if out.exists():
        raise SourceError(f"{out} exists already. Choose another name, or remove it.")
    workspace = open_workspace()
    plan = workspace.plan(read(recipe, parameters))
    domains = domains_from(data, text_column, label_column, pair_column, metrics, plan.experts, threshold)
    warn_of_overlap(plan, domains)
    rows = evaluate_for_report(workspace, plan, domains, terminal_progress())
    titles = {domain.name: domain.title for domain in domains}
    text = write_report(title, plan, plan.method.name, rows, titles, [draw_accuracy(rows, titles)])
    with replace_file(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    clear_line()
    print(f"{out}: {len(rows)} models on {len(domains)} domains, {len(text) / 1e6:.1f} MB")
