"""Commands that measure and merge."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import (
    AsJson,
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
from fusion_ui.cli.evaluating import warn_of_overlap
from fusion_ui.cli.terminal import print_notes, terminal_progress
from fusion_ui.errors import ParameterError


@app.command()
def stats(
    model: Annotated[str, typer.Option(help="A directory, or owner/name on the hub.")],
    data: Annotated[Path, typer.Option(help="CSV, TSV, JSONL, Parquet or CoNLL file.")],
    out: Annotated[Path, typer.Option(help="File to write, ending in .safetensors.")],
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    pair_column: PairColumn = None,
    num_examples: Annotated[int, typer.Option(min=1)] = 256,
    seed: int = 0,
    count_padding: Annotated[
        bool, typer.Option("--count-padding", help="For parity with published code only.")
    ] = False,
    kind: Annotated[str, typer.Option(help="gram or fisher.")] = "gram",
    revision: str | None = None,
    min_rows_per_feature: Annotated[
        float,
        typer.Option(min=0, help="Leave out layers that saw fewer rows (tokens or texts) than this times their width."),
    ] = 0.0,
    diagonal: Annotated[
        bool, typer.Option("--diagonal", help="Share the diagonals alone; merges then need alpha 0.")
    ] = False,
    token_counts: Annotated[
        bool,
        typer.Option("--token-counts", help="Share too how often each token occurs, for RegMean's `embeddings`."),
    ] = False,
    input_sums: Annotated[
        bool, typer.Option("--input-sums", help="Share too the sums of each layer's inputs, for RegMean's `with_bias`.")
    ] = False,
) -> None:
    """Measure a model's statistics on a data file and write them as one file, to be shared instead of the data."""
    from fusion_ui.checkpoints.finding import find_checkpoint
    from fusion_ui.domains.loaders import load_domain
    from fusion_ui.statistics.bundle import write_statistic
    from fusion_ui.statistics.measure import measure
    from fusion_ui.statistics.sharing import explain_revealing, find_revealing, keep_diagonals, leave_out
    from fusion_ui.statistics.statistic import StatisticKind, StatisticSettings
    from fusion_ui.tasks import find_task

    if kind not in [known.value for known in StatisticKind]:
        raise ParameterError(f"The kind of statistics must be one of {', '.join(StatisticKind)}. Got {kind!r} instead.")
    if out.suffix != ".safetensors":
        raise ParameterError(f"The statistics file must end in .safetensors. Got {out} instead.")
    workspace = open_workspace()
    read = load_domain(data, data.stem, text_column, label_column or None, pair_column=pair_column)
    print_notes(read.notes)
    how = StatisticSettings(num_examples, seed, count_padding, token_counts, input_sums)
    if kind != "gram" and how.is_extended:
        raise ParameterError(f"--token-counts and --input-sums belong to --kind gram. Got --kind {kind} instead.")
    checkpoint = find_checkpoint(model, model, workspace.settings, revision)
    # Labels are read so that a wrong column is noticed. Most statistics do not use them, so without them it is the
    # same text as a recipe's calibration data, measured once for both.
    domain = read if find_task(checkpoint.config).measures_answers else replace(read, labels=())
    statistic = measure(checkpoint, domain, StatisticKind(kind), how, workspace.settings, terminal_progress())
    if kind == "gram":
        statistic = leave_out(statistic, find_revealing(statistic, min_rows_per_feature))
        statistic = keep_diagonals(statistic) if diagonal else statistic
    write_statistic(out, statistic)
    print(f"{out}: {kind} of {statistic.num_examples} texts, {statistic.num_tokens} tokens")
    if kind == "gram":
        print(explain_revealing(statistic))


@app.command()
def merge(
    recipe: Path,
    out: Annotated[Path, typer.Option(help="New directory for the merged model.")],
    parameters: Set = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="NAME=FILE on which the merge is scored for its model card, once for each domain."),
    ] = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    pair_column: PairColumn = None,
    metrics: Metrics = None,
    threshold: Threshold = None,
) -> None:
    """Merge as a recipe says and write a directory that from_pretrained loads, with a model card."""
    from fusion_ui.merging.export import check_destination
    from fusion_ui.takeaway.exporting import Scoring, take_away

    check_destination(out)
    workspace = open_workspace()
    plan = workspace.plan(recipe_from(recipe, parameters))
    print_notes(f"{domain.name}: {note}" for domain in plan.calibration_text for note in domain.notes)
    domains = domains_from(data or [], text_column, label_column, pair_column, metrics, plan.experts, threshold)
    warn_of_overlap(plan, domains)
    owners = {expert.name: expert.name for expert in plan.experts}
    merged = take_away(workspace, plan, out, Scoring(tuple(domains), owners), terminal_progress())
    paths = ", ".join(f"{count} by {path}" for path, count in merged.describe()["paths"].items())
    print(f"{out}: {len(merged.tensors)} tensors in {merged.seconds:.2f} s ({paths})")


@app.command()
def check(recipe: Path, as_json: AsJson = False) -> None:
    """Say whether a recipe can be merged and what it will cost, from configs and headers alone."""
    from fusion_ui.merging.preflight import check_recipe, describe_needs, format_bytes

    workspace = open_workspace()
    found = check_recipe(recipe_from(recipe, None), workspace.settings)
    if as_json:
        print(json.dumps(found.describe(), indent=2))
    else:
        for model in found.models:
            fetched = f", {format_bytes(model.download_bytes)} to download" if model.download_bytes else ""
            print(f"{model.name:<16} {model.architecture}, {format_bytes(model.num_bytes)}{fetched}")
        print(f"needs {describe_needs(found)}")
        for sentence in (*found.warnings, *found.problems):
            print(f"- {sentence}")
        print("can be merged" if not found.problems else "cannot be merged here")
    if found.problems:
        raise SystemExit(2)


@app.command()
def search(text: str, limit: Annotated[int, typer.Option(min=1, max=100)] = 10, as_json: AsJson = False) -> None:
    """Search the hub for models, text classifiers first."""
    from dataclasses import asdict

    from fusion_ui.sources.hub import search_models

    found = search_models(text, limit)
    if as_json:
        print(json.dumps([asdict(model) for model in found], indent=2))
        return
    for model in found:
        gated = ", gated" if model.is_gated else ""
        print(f"{model.repository:<60} {model.downloads:>10} downloads {model.likes:>6} likes  {model.task}{gated}")
