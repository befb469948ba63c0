"""Commands that hand a merge on: to the hub, to mergekit, as a recipe without paths."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import Set, recipe_from
from fusion_ui.cli.terminal import clear_line, terminal_progress
from fusion_ui.errors import SourceError


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A directory written by merge.")],
    repository: Annotated[str, typer.Argument(help="owner/name on the hub.")],
    is_public: Annotated[bool, typer.Option("--public", help="Everybody sees it; else only its owner does.")] = False,
    token_file: Annotated[
        Path | None, typer.Option(help="File with a token that may write; else the variable HF_TOKEN is read.")
    ] = None,
) -> None:
    """Put a merged model on the hub as a new repository, or as a new version of an earlier merge."""
    from fusion_ui.takeaway.packing import push_folder

    token = token_file.read_text(encoding="utf-8") if token_file else os.environ.get("HF_TOKEN", "")
    address = push_folder(folder, repository, token, is_private=not is_public, progress=terminal_progress())
    clear_line()
    print(f"{address} ({'public' if is_public else 'private'})")


@app.command()
def recipe(
    recipe: Path,
    for_mergekit: Annotated[bool, typer.Option("--mergekit", help="Print a mergekit configuration.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write this file instead of printing.")] = None,
    parameters: Set = None,
) -> None:
    """Print a recipe for others, without this machine's paths, or as mergekit writes it."""
    from fusion_ui.merging.mergekit import mergekit_yaml
    from fusion_ui.merging.pinning import portable_recipe
    from fusion_ui.sources.files import replace_file

    found = recipe_from(recipe, parameters)
    if for_mergekit:
        text = mergekit_yaml(found)
    else:
        text = json.dumps(portable_recipe(found).model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    if out is None:
        print(text, end="")
        return
    if out.exists():
        raise SourceError(f"{out} exists already. Choose another name, or remove it.")
    with replace_file(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
