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
)
NUM_NAMED = 3


@app.command()
def doctor(recipe: Path, parameters: Set = None, as_json: AsJson = False) -> None:
    """Merge as a recipe says and tell of every weight what was done to it, how sure that is, and what needs a look.

    condition: of the summed Gram matrices as they are; scaled: as they were solved; smallest: eigenvalue, 1 minus
    alpha at least. moved: from the mean, 1 being as far as the experts are. cosine: between the experts' changes.
    """
    workspace = open_workspace()
    reports = workspace.examine(workspace.plan(recipe_from(recipe, parameters)), terminal_progress())
    clear_line()
    if as_json:
        print(json.dumps([asdict(report) for report in reports], indent=2))
        return
    _print_table(reports)
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


def _cells(report: Any) -> tuple[str, ...]:
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
        _number(report.movement.mean_cosine, ".2f"),
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
