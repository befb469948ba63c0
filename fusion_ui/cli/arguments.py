"""Options that several commands share, and how their text becomes recipes, domains and a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fusion_ui.cli.terminal import print_notes
from fusion_ui.errors import DomainError, ParameterError
from fusion_ui.settings import read_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Data = Annotated[list[str], typer.Option("--data", help="NAME=FILE, once for each domain.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="PARAMETER=VALUE of the method, or layer_scaling.PARAMETER=VALUE, over the recipe's own."
    ),
]
TextColumn = Annotated[str, typer.Option("--text-column", help="Column that holds the text.")]
PairColumn = Annotated[
    str | None, typer.Option("--pair-column", help="Column that holds the second text, for models that judge pairs.")
]
LabelColumn = Annotated[str, typer.Option("--label-column", help="Column that holds the label; '' for none.")]


def open_workspace(**changes: Any) -> Any:
    """The workspace under this environment's settings, over which go those of `changes` that are not None."""
    from fusion_ui.workspace import Workspace  # late: torch and transformers take seconds to import

    given = {name: value for name, value in changes.items() if value is not None}
    return Workspace(read_settings().model_copy(update=given))


def recipe_from(path: Path, parameters: list[str] | None) -> Any:
    """The recipe in a file, with parameters replaced by texts of the form ``NAME=VALUE``.

    ``layer_scaling.NAME=VALUE`` is a parameter of the step after the method, which a recipe without it then has.
    """
    from fusion_ui.merging.layer_scaling import LayerScaling
    from fusion_ui.merging.recipe import read_recipe
    from fusion_ui.methods import find_method
    from fusion_ui.parameters import declared_parameters

    recipe = read_recipe(path)
    declared = {"": declared_parameters(find_method(recipe.method)), "layer_scaling": declared_parameters(LayerScaling)}
    changes: dict[str, dict[str, Any]] = {part: {} for part in declared}
    for text in parameters or ():
        name, separator, value = text.partition("=")
        if not separator:
            raise ParameterError(f"Write --set PARAMETER=VALUE. Got {text!r} instead.")
        start, _, end = name.rpartition(".")
        part, name = (start, end) if start in declared else ("", name)
        changes[part][name] = declared[part][name].parse(value) if name in declared[part] else value
    changed = recipe.with_parameters(**changes[""])
    if changes["layer_scaling"]:
        changed = changed.with_layer_scaling(**changes["layer_scaling"])
    changed.make_method()
    changed.make_layer_scaling()
    return changed


def domains_from(data: list[str], text_column: str, label_column: str, pair_column: str | None) -> list[Any]:
    """One domain for each text of the form ``NAME=FILE``; what was decided while reading is printed."""
    from fusion_ui.domains.loaders import load_domain

    domains = {}
    for text in data:
        name, separator, path = text.partition("=")
        if not separator or not name or name in domains:
            raise DomainError(f"Write --data NAME=FILE, each name once. Got {text!r} instead.")
        domains[name] = load_domain(Path(path), name, text_column, label_column or None, pair_column=pair_column)
    print_notes(f"{name}: {note}" for name, domain in domains.items() for note in domain.notes)
    return list(domains.values())
