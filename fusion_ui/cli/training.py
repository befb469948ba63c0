"""The command that trains what a merge is held against: one model on all domains together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import (
    AsJson,
    LabelColumn,
    PairColumn,
    TextColumn,
    domains_from,
    open_workspace,
    recipe_from,
)
from fusion_ui.cli.terminal import clear_line, print_notes, terminal_progress
from fusion_ui.errors import DomainError, RecipeError


@app.command()
def train(
    recipe: Path,
    out: Annotated[Path, typer.Option(help="New directory for the trained model.")],
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="NAME=FILE, once for each domain; else the recipe's calibration data."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How often every text is read.")] = 2,
    learning_rate: float = 1e-4,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    seed: int = 0,
    as_json: AsJson = False,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    pair_column: PairColumn = None,
) -> None:
    """Train the multi-task model of a recipe: from its base, on the labelled text of all its domains together.

    Word embeddings are kept. This is no merge but what a merge is held against: it needs everybody's text in one
    place, and many times as long.
    """
    from fusion_ui.merging.export import check_destination
    from fusion_ui.merging.subsets import plain_recipe
    from fusion_ui.training.fine_tuning import fine_tune
    from fusion_ui.training.settings import TrainingSettings

    check_destination(out)
    workspace, whole = open_workspace(), recipe_from(recipe, None)
    if whole.base is None:
        raise RecipeError(f"The recipe {recipe} does not say which model to start from. Set 'base' in it.")
    plan = workspace.plan(plain_recipe(whole))
    assert plan.base is not None
    if len(kinds := dict.fromkeys(task.title for task in plan.tasks)) > 1:
        raise RecipeError(
            f"One model cannot be trained for {' and for '.join(kinds)}. Write a recipe for each task, and train one "
            "model by each."
        )
    task, columns = plan.tasks[0], (text_column, label_column, pair_column)
    given = domains_from(data, *columns, models=plan.experts) if data else _calibration_of(whole, task)
    how = TrainingSettings(epochs, learning_rate, batch_size, workspace.settings.max_tokens_per_text, seed)
    done = fine_tune(plan.base, task, plan.all_labels, given, how, out, terminal_progress())
    clear_line()
    if as_json:
        about = {"model": str(out), "seconds": round(done.seconds, 2), "num_examples": done.num_examples}
        print(json.dumps(about, indent=2))
        return
    counts = ", ".join(f"{count:,} of {name}" for name, count in done.num_examples.items())
    print(f"{out}: trained on {counts} in {done.seconds:.1f} s")


def _calibration_of(recipe: Any, task: Any) -> list[Any]:
    """The text that a recipe's experts are calibrated on, one domain an expert."""
    from fusion_ui.domains.choices import labels_in
    from fusion_ui.domains.loaders import load_domain

    domains = []
    for expert in recipe.experts:
        source = expert.calibration
        if source is None or source.data is None or (source.label_column is None and task.needs_labels):
            raise DomainError(
                f"The recipe has no {'labelled ' * task.needs_labels}text for {expert.name}, and a statistics file "
                "cannot stand for it in training. Give --data NAME=FILE once for each domain."
            )
        path, text, label = Path(source.data), source.text_column, source.label_column
        label = label if task.needs_labels or labels_in([path], text, label) else None
        about = {"pair_column": source.pair_column, "has_empty_labels": task.has_empty_labels}
        domains.append(load_domain(path, expert.name, text, label, **about))
    print_notes(f"{domain.name}: {note}" for domain in domains for note in domain.notes)
    return domains
