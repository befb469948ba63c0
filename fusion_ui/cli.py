"""The console script ``fusion-ui``: headless all that the page does, over the same `Workspace`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fusion_ui.errors import DomainError, FusionError, ParameterError
from fusion_ui.progress import Progress
from fusion_ui.settings import read_settings

app = typer.Typer(
    name="fusion-ui",
    help="Merge fine-tuned language models without their training data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Data = Annotated[list[str], typer.Option("--data", help="NAME=FILE, once for each domain.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="PARAMETER=VALUE of the method, over the recipe's own.")]
TextColumn = Annotated[str, typer.Option("--text-column", help="Column that holds the text.")]
LabelColumn = Annotated[str, typer.Option("--label-column", help="Column that holds the label.")]


@app.command()
def demo(as_json: AsJson = False) -> None:
    """Prepare the demo project and print where everything lies."""
    project = _workspace().prepare_demo(_progress())
    if as_json:
        print(json.dumps(project.describe(), indent=2))
    else:
        print(f"{project.title}\n  base        {project.base}\n  multi-task  {project.multitask}")
        for expert, domain in zip(project.experts, project.domains, strict=True):
            print(f"  {expert.name:<11} {expert.model}\n              {domain.report.parent}/*.csv")


@app.command()
def methods(
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the README's table.")] = False,
) -> None:
    """List the merge methods with their parameters."""
    from fusion_ui.methods import METHODS
    from fusion_ui.methods.describe import describe_method, methods_table

    if as_markdown:
        print(methods_table())
        return
    described = [describe_method(method) for method in METHODS]
    if as_json:
        print(json.dumps(described, indent=2))
        return
    for about in described:
        print(f"{about['name']}: {about['summary']}\n    {about['formula']}\n    {about['paper']}")
        for parameter in about["parameters"]:
            print(f"    --set {parameter['name']}={parameter['default']}  {parameter['help']}")


@app.command()
def stats(
    model: Annotated[str, typer.Option(help="A directory, or owner/name on the hub.")],
    data: Annotated[Path, typer.Option(help="CSV, TSV, JSONL or Parquet file.")],
    out: Annotated[Path, typer.Option(help="File to write, ending in .safetensors.")],
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    num_examples: Annotated[int, typer.Option(min=1)] = 256,
    seed: int = 0,
    count_padding: Annotated[
        bool, typer.Option("--count-padding", help="For parity with published code only.")
    ] = False,
    kind: Annotated[str, typer.Option(help="gram or fisher.")] = "gram",
    revision: str | None = None,
) -> None:
    """Measure a model's statistics on a data file and write them as one file."""
    from fusion_ui.domains.loaders import load_domain
    from fusion_ui.merging.plan import find_checkpoint
    from fusion_ui.statistics.bundle import write_statistic
    from fusion_ui.statistics.measure import measure
    from fusion_ui.statistics.statistic import StatisticKind, StatisticSettings

    if kind not in [known.value for known in StatisticKind]:
        raise ParameterError(f"The kind of statistics must be one of {', '.join(StatisticKind)}. Got {kind!r} instead.")
    if out.suffix != ".safetensors":
        raise ParameterError(f"The statistics file must end in .safetensors. Got {out} instead.")
    workspace = _workspace()
    # Labels are read so that a wrong column is noticed; neither statistic uses them.
    domain = load_domain(data, data.stem, text_column, label_column)
    how = StatisticSettings(num_examples, seed, count_padding)
    checkpoint = find_checkpoint(model, model, revision)
    statistic = measure(checkpoint, domain, StatisticKind(kind), how, workspace.settings, _progress())
    write_statistic(out, statistic)
    print(f"{out}: {kind} of {statistic.num_examples} texts, {statistic.num_tokens} tokens")


@app.command()
def merge(
    recipe: Path,
    out: Annotated[Path, typer.Option(help="New directory for the merged model.")],
    parameters: Set = None,
) -> None:
    """Merge as a recipe says and write a directory that from_pretrained loads."""
    from fusion_ui.merging.export import check_destination

    check_destination(out)
    workspace = _workspace()
    merged = workspace.export(workspace.plan(_recipe(recipe, parameters)), out, _progress())
    paths = ", ".join(f"{count} by {path}" for path, count in merged.describe()["paths"].items())
    print(f"{out}: {len(merged.tensors)} tensors in {merged.seconds:.2f} s ({paths})")


@app.command()
def evaluate(
    what: Annotated[str, typer.Argument(help="A recipe, or the directory of a model.")],
    data: Data,
    as_json: AsJson = False,
    parameters: Set = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
) -> None:
    """Accuracy with a 95 % interval on each data file."""
    from fusion_ui.evaluation.candidates import checkpoint_candidate
    from fusion_ui.merging.plan import find_checkpoint
    from fusion_ui.sources.local import is_directory

    workspace, started = _workspace(), time.perf_counter()
    in_domain: list[str] = []
    if is_directory(what):
        model = find_checkpoint(Path(what).name, what)
        candidate = checkpoint_candidate("model", model.name, model)
    else:
        plan = workspace.plan(_recipe(Path(what), parameters))
        model, candidate = plan.experts[0], workspace.candidate(plan)
        in_domain = [expert.name for expert in plan.experts]
    evaluation = workspace.evaluation(_domains(data, text_column, label_column), model)
    scores = list(workspace.evaluate([candidate], evaluation, in_domain, _progress()))[-1]
    seconds = time.perf_counter() - started
    if as_json:
        print(json.dumps({"model": what, "seconds": round(seconds, 3), **_scores(scores)}, indent=2))
    else:
        _print_scores(candidate.title, scores)


@app.command()
def sweep(
    recipe: Path,
    data: Data,
    alpha: Annotated[
        str, typer.Option(help="Values of alpha, separated by commas.")
    ] = "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1",
    as_json: AsJson = False,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
) -> None:
    """Accuracy at several values of alpha, and the best mean. Give the *select* split here, not the reported one."""
    from fusion_ui.parameters import declared_parameters

    workspace = _workspace()
    plan = workspace.plan(_recipe(recipe, None))
    declared = declared_parameters(type(plan.method))
    if "alpha" not in declared:
        raise ParameterError(f"{plan.method.title} has no parameter 'alpha' to sweep. Choose regmean.")
    values = [declared["alpha"].parse(text.strip()) for text in alpha.split(",")]
    for value in values:
        declared["alpha"].check(value, "alpha", plan.method.title)
    evaluation = workspace.evaluation(_domains(data, text_column, label_column), plan.experts[0])
    in_domain = [expert.name for expert in plan.experts]
    points = []
    for value, scores in workspace.sweep(plan, "alpha", values, evaluation, in_domain, _progress()):
        points.append({"alpha": value, **_scores(scores)})
        if not as_json:
            _print_scores(f"alpha {value:g}", scores)
    best = max(points, key=lambda point: point["mean"])
    if as_json:
        print(json.dumps({"points": points, "best": {"alpha": best["alpha"], "mean": best["mean"]}}, indent=2))
    else:
        print(f"best mean on these files: {best['mean']:.1%} at alpha {best['alpha']:g}")


@app.command()
def serve(host: str | None = None, port: Annotated[int | None, typer.Option(min=1, max=65535)] = None) -> None:
    """Prepare the demo and serve the page."""
    from fusion_ui.ui.serving import serve as serve_page

    serve_page(_workspace(), host, port, _progress())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a `FusionError` is printed as one sentence and ends with code 2."""
    try:
        app(args=list(arguments) if arguments is not None else None)
    except FusionError as error:
        _clear_line()
        print(f"fusion-ui: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        _clear_line()
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"fusion-ui: {where}{error.strerror or error}. Check the path, its permissions and the free space.",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        _clear_line()
        print("fusion-ui: stopped.", file=sys.stderr)
        raise SystemExit(130) from None


def _workspace() -> Any:
    from fusion_ui.workspace import Workspace  # late: torch and transformers take seconds to import

    return Workspace(read_settings())


def _progress() -> Progress:
    """Progress on standard error: one line that rewrites itself, or nothing where nobody watches."""
    if not sys.stderr.isatty():
        return Progress()
    return Progress(
        lambda fraction, message: print(f"\r\033[K{fraction:4.0%} {message[:100]}", end="", file=sys.stderr)
    )


def _clear_line() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)


def _recipe(path: Path, parameters: list[str] | None) -> Any:
    from fusion_ui.merging.recipe import read_recipe
    from fusion_ui.methods import find_method
    from fusion_ui.parameters import declared_parameters

    recipe = read_recipe(path)
    declared = declared_parameters(find_method(recipe.method))
    changes: dict[str, Any] = {}
    for text in parameters or ():
        name, separator, value = text.partition("=")
        if not separator:
            raise ParameterError(f"Write --set PARAMETER=VALUE. Got {text!r} instead.")
        changes[name] = declared[name].parse(value) if name in declared else value
    changed = recipe.with_parameters(**changes)
    changed.make_method()
    return changed


def _domains(data: list[str], text_column: str, label_column: str) -> list[Any]:
    from fusion_ui.domains.loaders import load_domain

    domains = {}
    for text in data:
        name, separator, path = text.partition("=")
        if not separator or not name or name in domains:
            raise DomainError(f"Write --data NAME=FILE, each name once. Got {text!r} instead.")
        domains[name] = load_domain(Path(path), name, text_column, label_column)
    return list(domains.values())


def _scores(scores: Any) -> dict[str, Any]:
    return {"mean": scores.mean, "scores": [asdict(score) for score in scores.scores]}


def _print_scores(title: str, scores: Any) -> None:
    _clear_line()
    print(f"{title}: mean {scores.mean:.1%}")
    for s in scores.scores:
        print(f"  {s.domain:<12} {s.value:6.1%}  [{s.low:.1%}, {s.high:.1%}]  {s.num_examples} of {s.split}, {s.role}")


if __name__ == "__main__":
    main()
