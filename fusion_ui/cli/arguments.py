"""Options that several commands share, and how their text becomes recipes, domains and a workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fusion_ui.cli.terminal import print_notes
from fusion_ui.errors import DomainError, ParameterError
from fusion_ui.settings import read_settings

_COLUMN = "Or DOMAIN=COLUMN, with commas between, where the files differ."

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Data = Annotated[list[str], typer.Option("--data", help="NAME=FILE, once for each domain.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="PARAMETER=VALUE of the method, or layer_scaling.PARAMETER=VALUE, over the recipe's own."
    ),
]
TextColumn = Annotated[str, typer.Option("--text-column", help=f"Column that holds the text. {_COLUMN}")]
PairColumn = Annotated[
    str | None,
    typer.Option("--pair-column", help=f"Column that holds the second text, for models that judge pairs. {_COLUMN}"),
]
LabelColumn = Annotated[
    str, typer.Option("--label-column", help=f"Column that holds the label; '' for none. {_COLUMN}")
]

Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", help="DOMAIN=METRIC, or one METRIC for all; else the usual one of each domain's task."),
]

Threshold = Annotated[
    float | None,
    typer.Option(
        help="Probability above which a text is given a label, for models that give several; 0.5 if not said."
    ),
]
Choices = Annotated[
    list[str] | None,
    typer.Option(
        "--choice",
        help="A label that the text may have though none in the file does, once for each; for language models, which "
        "choose among the labels of their text.",
    ),
]


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


def domains_from(
    data: list[str],
    text_column: str,
    label_column: str,
    pair_column: str | None,
    metrics: list[str] | None = None,
    models: Sequence[Any] = (),
    threshold: float | None = None,
    choices: Sequence[str] | None = None,
) -> list[Any]:
    """One domain for each text of the form ``NAME=FILE``; what was decided while reading is printed.

    Args:
        metrics: texts of the form ``NAME=METRIC``, or ``METRIC`` for all domains.
        models: checkpoints that are to answer; where a text without labels is an answer to one of them, it is kept.
        threshold: as of a `Domain`; refused where none of `models` gives several labels.
        choices: as of a `Domain`; refused where none of `models` chooses among the labels of a text.
    """
    from fusion_ui.domains.loaders import load_domain
    from fusion_ui.tasks import find_task

    if threshold is not None and not any(find_task(model.config).has_threshold for model in models):
        raise ParameterError("--threshold is for models that give a text several labels; these do not. Leave it out.")
    if choices and not any(find_task(model.config).has_choices for model in models):
        raise ParameterError("--choice is for language models, which have no labels of their own. Leave it out.")
    has_empty_labels = any(find_task(model.config).has_empty_labels for model in models)
    domains = {}
    for text in data:
        name, separator, path = text.partition("=")
        if not separator or not name or name in domains:
            raise DomainError(f"Write --data NAME=FILE, each name once. Got {text!r} instead.")
        text, label = column_of(text_column, name, "text"), column_of(label_column, name, "label")
        pair = column_of(pair_column, name, None)
        domains[name] = load_domain(
            Path(path), name, text or "text", label or None, pair_column=pair, has_empty_labels=has_empty_labels
        )
    print_notes(f"{name}: {note}" for name, domain in domains.items() for note in domain.notes)
    return [
        replace(d, threshold=threshold, choices=tuple(choices or ()))
        for d in _measured_by(list(domains.values()), metrics or [])
    ]


def column_of(option: str | None, domain: str, usual: str | None) -> str | None:
    """A domain's column by an option of the form ``COLUMN`` or ``DOMAIN=COLUMN,DOMAIN=COLUMN``."""
    if option is None or "=" not in option:
        return option
    parts = [part.partition("=") for part in option.split(",")]
    return next((column.strip() for name, _, column in parts if name.strip() == domain), usual)


def _measured_by(domains: list[Any], metrics: list[str]) -> list[Any]:
    """The domains with the metrics that texts of the form ``NAME=METRIC`` or ``METRIC`` ask for."""
    asked = dict[str, str]()
    for text in metrics:
        name, separator, metric = text.rpartition("=")
        if separator and name not in [domain.name for domain in domains]:
            raise DomainError(
                f"--metric names {name!r}, which is no --data. Write DOMAIN=METRIC with one of: "
                f"{', '.join(domain.name for domain in domains)}."
            )
        asked[name] = metric
    return [replace(d, metric=asked.get(d.name, asked.get("", d.metric))) for d in domains]
