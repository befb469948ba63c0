"""The command that looks into a merge."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import AsJson, Set, open_workspace, recipe_from
from fusion_ui.cli.terminal import clear_line, terminal_progress

HEADER: tuple[str, ...] = (
    "",
    "path",
    "rows/width",
    "condition",
    "scaled",
    "smallest",
    "dead",
    "cut",
    "moved",
    "cosine",
    "apart",
    "opposed",
)
PAIR_FORMATS = {"cosine": ".2f", "apart": ".0%", "opposed": ".0%"}
NUM_NAMED = 3


@app.command()
def doctor(recipe: Path, parameters: Set = None, as_json: AsJson = False) -> None:
    """Merge as a recipe says and tell of every weight what was done to it, how sure that is, and what needs a look.

    condition: of the summed Gram matrices as they are; scaled: as they were solved; smallest: eigenvalue, 1 minus
    alpha at least. moved: from the mean, 1 being as far as the experts are. Means over every two experts: cosine of
    their changes from the base, or from the mean where no base is known; how far apart they are, of the weight's size;
    opposed: entries that they changed in opposite directions.
    """
    workspace = open_workspace()
    plan = workspace.plan(recipe_from(recipe, parameters))
    reports, names = workspace.examine(plan, terminal_progress()), [expert.name for expert in plan.experts]
    clear_line()
    if as_json:
        print(json.dumps([_describe(report, names) for report in reports], indent=2))
        return
    _print_table(reports)
    _print_pairs(reports, names)
    places: dict[str, list[str]] = {}
    for report in reports:
        for sentence in report.attention:
            places.setdefault(sentence, []).append(report.name)
    for sentence, names in places.items():
        more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
        print(f"- {', '.join(names[:NUM_NAMED])}{more}: {sentence}.")
    if not places:
        print("nothing needs a look")


def _print_table(reports: Sequence[Any]) -> None:
    """The weights that have Gram matrices, or all matrices where none has, and one line for what is left."""
    has_grams = any(report.num_rows for report in reports)
    shown = [report for report in reports if (report.num_rows if has_grams else len(report.shape) == 2)]
    lines = [HEADER, *map(_cells, shown)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, path, *numbers in lines:
        right = (f"{cell:>{width}}" for cell, width in zip(numbers, widths[2:], strict=True))
        print("  ".join([f"{name:<{widths[0]}}", f"{path:<{widths[1]}}", *right]))
    others = Counter(report.path for report in reports if report not in shown)
    if others:
        print(f"{others.total()} other parameters: {', '.join(f'{n} by {path}' for path, n in others.items())}")


def _describe(report: Any, experts: list[str]) -> dict[str, Any]:
    """A report as JSON values, what lies between the experts by pair."""
    found = report.interference
    pairs = [
        {
            "experts": [experts[i], experts[j]],
            "cosine": found.cosine(i, j),
            "apart": found.distance(i, j),
            "opposed": found.opposed(i, j),
        }
        for i, j in found.pairs
    ]
    values = {key: value for key, value in asdict(report).items() if key != "interference"}
    return values | {"is_from_base": found.is_from_base, "pairs": pairs}


def _print_pairs(reports: Sequence[Any], experts: list[str]) -> None:
    """A line for every two experts, over all parameters."""
    from fusion_ui.results.interference import WHOLE, pair_table

    frame = pair_table(reports, experts)
    start = "the base" if any(report.interference.is_from_base for report in reports) else "the experts' mean"
    for row in (row for row in frame.to_dict("records") if row["place"] == WHOLE):
        numbers = (
            f"cosine {_number(row['cosine'], '.2f')}",
            f"{_number(row['apart'], '.1%')} apart",
            f"{_number(row['opposed'], '.0%')} of the entries opposed",
        )
        print(f"{row['first']} and {row['second']}, changes from {start}: {', '.join(numbers)}")


def _cells(report: Any) -> tuple[str, ...]:
    from fusion_ui.results.interference import mean_over_pairs

    conditioning, movement = report.conditioning, report.effect or report.movement
    solved = (conditioning.before, conditioning.after, conditioning.smallest) if conditioning else (None,) * 3
    return (
        report.name.removesuffix(".weight"),
        report.path,
        f"{min(report.num_rows)}/{report.width}" if report.num_rows else "-",
        *(_number(value, form) for value, form in zip(solved, (".0e", ".0e", ".2g"), strict=True)),
        str(report.num_dead),
        str(report.num_cut),
        _number(movement.from_mean, ".2f"),
        *(_number(mean_over_pairs(report.interference, n), f) for n, f in PAIR_FORMATS.items()),
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or value != value else f"{value:{form}}"  # NaN stands for none in tables
