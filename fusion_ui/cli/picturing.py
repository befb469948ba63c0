"""The command that shows how RegMean works on two weights of a recipe's own models."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import AsJson, Set, open_workspace, recipe_from
from fusion_ui.cli.terminal import clear_line, terminal_progress
from fusion_ui.errors import MergeError


@app.command()
def two_features(
    recipe: Path,
    layer: Annotated[
        str | None, typer.Option(help="Name of the weight; the first of the last layer if not said.")
    ] = None,
    experts: Annotated[str | None, typer.Option(help="Two experts, separated by a comma; the first two.")] = None,
    parameters: Set = None,
    as_json: AsJson = False,
) -> None:
    """How RegMean works on two weights of one output of a layer: where it and the mean lie, and what each costs.

    All other weights stay at each expert's own values. The merge itself solves for all weights of a layer at once.
    """
    from fusion_ui.merging.two_features import choose_layer, find_two_features
    from fusion_ui.results.two_features import two_features_table

    workspace = open_workspace()
    plan = workspace.plan(recipe_from(recipe, parameters))
    alpha = getattr(plan.method, "alpha", None)
    if not plan.method.requires or alpha is None:
        raise MergeError(f"This is about RegMean, and the recipe says {plan.method.title}. Set its method to regmean.")
    names = experts.split(",") if experts else [expert.name for expert in plan.experts][:2]
    if len(names) != 2:
        raise MergeError("It takes two experts. Name them as --experts ONE,OTHER.")
    chosen = layer or choose_layer(plan)
    picture = find_two_features(plan, workspace.settings, chosen, (names[0], names[1]), terminal_progress())
    frame = two_features_table(picture, alpha)
    clear_line()
    if as_json:
        print(json.dumps(asdict(picture) | {"table": frame.to_dict("records")}, indent=2))
        return
    first, second = picture.features
    print(f"{picture.name}, output {picture.unit}, inputs {first} and {second} of {picture.width}")
    titles = ["", "first", "second", f"error on {names[0]}", f"error on {names[1]}", "both, weighted"]
    print(frame.set_axis(titles, axis=1).to_string(index=False, float_format="{:.4g}".format))
