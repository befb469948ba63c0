"""The command that answers single sentences."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import AsJson, Set, open_workspace, recipe_from
from fusion_ui.cli.terminal import clear_line, one_line, terminal_progress

WIDTH = 110


@app.command("try")
def try_it(
    recipe: Path,
    sentences: Annotated[
        list[str] | None,
        typer.Argument(help="One or more; else the lines of standard input. A tab parts the sentences of a pair."),
    ] = None,
    as_json: AsJson = False,
    parameters: Set = None,
) -> None:
    """What a merge, its experts and their ensemble say to sentences, with probabilities, side by side."""
    from fusion_ui.evaluation.combined import ensemble_of
    from fusion_ui.evaluation.references import expert_candidates
    from fusion_ui.evaluation.typed_text import answer_examples, read_examples

    given = [" ".join(text.splitlines()) for text in sentences] if sentences else [sys.stdin.read()]
    examples = read_examples("\n".join(given))
    workspace = open_workspace()
    plan = workspace.plan(recipe_from(recipe, parameters))
    experts = [*expert_candidates(plan).values()]
    models = [workspace.candidate(plan), *experts, *([ensemble_of(experts)] if len(experts) > 1 else [])]
    found = answer_examples(examples, models, workspace.evaluation_of([], plan), terminal_progress())
    clear_line()
    described = found.describe()
    if as_json:
        print(json.dumps(described, indent=2, ensure_ascii=False))
        return
    width = max(len(model.title) for model in found.models)
    for example in described["examples"]:
        for text in (example["text"], example["pair"]):
            if text is not None:
                print(one_line(text, WIDTH))
        print(f"  {found.note(example['num_tokens'])}")
        for model in example["models"]:
            shown = {name: "-" if p is None else f"{p:.1%}" for name, p in model["probabilities"].items()}
            said = "  ".join(f"{one_line(name)} {p}" for name, p in shown.items()) or one_line(model["answer"])
            print(f"  {model['title']:<{width}}  {said}")
