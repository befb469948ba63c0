"""The command that looks at data before it is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import AsJson, PairColumn, open_workspace
from fusion_ui.cli.terminal import one_line
from fusion_ui.errors import DomainError

MAX_LABELS = 20
NUM_REMOTE = 1_000
"""Rows read of a data set on the hub."""


@app.command()
def inspect(
    data: Annotated[str, typer.Argument(help="A file of data as for stats, or owner/name:configuration:split.")],
    model: Annotated[str | None, typer.Option(help="A directory, or owner/name on the hub: count its tokens.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column of the text; else it is guessed.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the label; else it is guessed.")] = None,
    pair_column: PairColumn = None,
    as_json: AsJson = False,
) -> None:
    """Show what a file or a data set on the hub holds: columns, first rows, balance of labels, lengths, duplicates."""
    from fusion_ui.domains.summary import summarise

    seen, load = _open(data)
    text, pair, *_ = (text_column, None) if text_column else (*seen.guess.text_columns, None, None)
    if text is None:
        raise DomainError(f"No column of {data} looks like text. Name one of {', '.join(seen.columns)[:300]}.")
    columns = {
        "text_column": text,
        "pair_column": pair_column or pair,
        "label_column": label_column or seen.guess.label_column,
    }
    summary = summarise(load(**columns), _find_tokenizer(model) if model else None)
    found = {
        "data": data,
        "columns": list(seen.columns),
        "guess": seen.guess.reason,
        **columns,
        "rows": [list(row) for row in seen.rows],
        "num_rows_in_all": seen.num_rows,
        **summary.describe(),
    }
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print(found)


def _open(data: str) -> tuple[Any, Callable[..., Any]]:
    """The preview of a file or of a data set on the hub, and what loads it as a domain, given its columns."""
    from fusion_ui.domains.columns import preview
    from fusion_ui.domains.data_files import READERS
    from fusion_ui.domains.hub import load_hub_domain
    from fusion_ui.domains.hub_preview import preview_hub_domain
    from fusion_ui.domains.loaders import load_domain
    from fusion_ui.sources.hub_access import is_repository_id

    repository, config, split = (*data.split(":"), "", "")[:3]
    path = Path(data)
    if path.exists() or path.suffix.lower() in READERS or not is_repository_id(repository):
        return preview(path), partial(load_domain, path, path.stem)
    load = partial(load_hub_domain, config=config or None, split=split or None, num_examples=NUM_REMOTE)
    return preview_hub_domain(repository, config or None, split or None), partial(load, repository, repository)


def _find_tokenizer(model: str) -> Any:
    from fusion_ui.checkpoints.finding import find_checkpoint
    from fusion_ui.tasks.tokenizer import Tokenizer

    settings = open_workspace().settings
    return Tokenizer(find_checkpoint(model, model, settings), settings.max_tokens_per_text)


def _print(found: dict[str, Any]) -> None:
    used = [f"{kind} {found[f'{kind}_column']!r}" for kind in ("text", "pair", "label") if found[f"{kind}_column"]]
    in_all = found["num_rows_in_all"]
    of_all = f" of {in_all:,}" if in_all and in_all > found["num_rows"] else ""
    print(f"{found['data']}: {found['num_rows']:,}{of_all} rows, read as {', '.join(used)}")
    print(f"guess       {found['guess']}")
    print(f"columns     {', '.join(found['columns'])}")
    for row in found["rows"]:
        print("  " + " | ".join(one_line(cell) for cell in row))
    counts = list(found["num_by_label"].items())
    for label, count in counts[:MAX_LABELS]:
        print(f"{count / (found['num_words'] or found['num_rows']):7.1%}     {one_line(label)} ({count:,})")
    if len(counts) > MAX_LABELS:
        print(f"            and {len(counts) - MAX_LABELS:,} labels more")
    if tokens := found["tokens"]:
        lengths = ", ".join(f"{name} {tokens[name]:,}" for name in ("min", "median", "95%", "max"))
        print(f"tokens      {lengths}; {tokens['truncated_share']:.1%} over {tokens['max_length']:,} are cut")
    print(f"duplicates  {found['num_duplicates']:,}")
    for note in found["notes"]:
        print(f"note        {note}")
