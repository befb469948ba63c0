"""The commands that merge some of a recipe's experts: every two, and one more each time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
from fusion_ui.cli.terminal import clear_line, print_notes, terminal_progress

PAIR_HEADERS = ("Pair", "Own domains", "vs better", "vs worse", "Other domains", "vs better", "vs worse")
CELL = 22
"""Characters of a number with its interval."""


@app.command()
def pairs(
    recipe: Path,
    data: Data,
    as_json: AsJson = False,
    parameters: Set = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    pair_column: PairColumn = None,
    metrics: Metrics = None,
    threshold: Threshold = None,
) -> None:
    """Merge every two experts of a recipe; the score, and its change against the better and the worse of the two.

    An expert's own domain is the --data of its name. Better and worse are told on each domain, then averaged.
    """
    from fusion_ui.evaluation.pairs import run_pairs
    from fusion_ui.merging.subsets import pair_recipes
    from fusion_ui.results.experiments import pair_row

    whole = recipe_from(recipe, parameters)
    ask = partial(domains_from, data, text_column, label_column, pair_column, metrics, threshold=threshold)
    experiment, found = _make_experiment(whole, pair_recipes(whole), ask), []
    width = max(len(" + ".join(names)) for names in experiment.merges)
    for result in run_pairs(experiment, terminal_progress()):
        if not as_json:
            cells = [*pair_row(result, "own"), *pair_row(result, "others")[1:]]
            _print_row(cells, width, PAIR_HEADERS if not found else ())
        found.append(result)
    if as_json:
        print(json.dumps({"pairs": [result.describe() for result in found]}, indent=2))


@app.command()
def growth(
    recipe: Path,
    data: Data,
    order: Annotated[
        str | None, typer.Option(help="Every expert's name, separated by commas; else as in the recipe.")
    ] = None,
    ensemble: Annotated[bool, typer.Option("--ensemble", help="Score the ensemble of the same experts too.")] = False,
    as_json: AsJson = False,
    parameters: Set = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    pair_column: PairColumn = None,
    metrics: Metrics = None,
    threshold: Threshold = None,
) -> None:
    """Merge a recipe's first expert, its first two and so on to all, each time from scratch, and score every merge.

    An expert's own domain is the --data of its name; domains whose expert was not added yet stand in brackets.
    """
    from fusion_ui.evaluation.growth import run_growth
    from fusion_ui.merging.subsets import prefix_recipes
    from fusion_ui.results.experiments import growth_headers, growth_row

    whole = recipe_from(recipe, parameters)
    recipes = prefix_recipes(whole, None if order is None else [name.strip() for name in order.split(",")])
    ask = partial(domains_from, data, text_column, label_column, pair_column, metrics, threshold=threshold)
    experiment, found = _make_experiment(whole, recipes, ask), []
    headers = growth_headers([encoded.domain.name for encoded in experiment.evaluation.domains], ensemble)
    width = max(len(" + ".join(names)) for names in experiment.merges)
    for point in run_growth(experiment, terminal_progress(), ensemble):
        if not as_json:
            _print_row(growth_row(point), width, headers if not found else ())
        found.append(point)
    if as_json:
        print(json.dumps({"points": [point.describe() for point in found]}, indent=2))


def _make_experiment(whole: Any, recipes: Mapping[tuple[str, ...], Any], read_domains: Callable[..., Any]) -> Any:
    """The merges of some of the experts of `whole`, to be scored on what `read_domains` gives for these models."""
    from fusion_ui.domains.checks import describe_overlaps
    from fusion_ui.evaluation.experiments import Experiment
    from fusion_ui.evaluation.references import expert_candidates
    from fusion_ui.merging.subsets import plain_recipe

    workspace = open_workspace()
    everyone = workspace.plan(plain_recipe(whole))
    plans = {names: workspace.plan(part) for names, part in recipes.items()}
    text = {source.fingerprint: source for plan in plans.values() for source in plan.calibration_text}
    domains = read_domains(everyone.experts)
    found = describe_overlaps(list(domains), tuple(text.values()))
    print_notes((f"{sentence} The merges are calibrated on the latter." for sentence in found), "warning")
    experts = expert_candidates(everyone)
    own = {domain.name: domain.name for domain in domains if domain.name in experts}
    if not own:
        print_notes([f"no --data has the name of an expert ({', '.join(experts)}), so all domains are out-of-domain"])
    merges = {names: workspace.candidate(plan) for names, plan in plans.items()}
    return Experiment(merges, experts, own, workspace.evaluation_of(domains, everyone))


def _print_row(cells: Sequence[str], width: int, headers: Sequence[str]) -> None:
    """A line of a table, under `headers` where it is the first."""
    clear_line()
    for first, *others in filter(None, [headers, cells]):
        print("  ".join([f"{first:<{width}}", *(f"{cell:>{CELL}}" for cell in others)]))
