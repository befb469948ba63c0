"""The command that looks at data before it is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import AsJson, PairColumn, open_workspace
from fusion_ui.errors import DomainError

MAX_LABELS = 20


@app.command()
def inspect(
    data: Annotated[Path, typer.Argument(help="CSV, TSV, JSONL or Parquet file.")],
    model: Annotated[str | None, typer.Option(help="A directory, or owner/name on the hub: count its tokens.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column of the text; else it is guessed.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the label; else it is guessed.")] = None,
    pair_column: PairColumn = None,
    as_json: AsJson = False,
) -> None:
    """Show what a data file holds: columns, first rows, balance of labels, lengths, duplicates."""
    from fusion_ui.domains.columns import preview
    from fusion_ui.domains.loaders import load_domain
    from fusion_ui.domains.summary import summarise

    seen = preview(data)
    text, pair, *_ = (text_column, None) if text_column else (*seen.guess.text_columns, None, None)
    if text is None:
        raise DomainError(f"No column of {data} looks like text. Name one of {', '.join(seen.columns)[:300]}.")
    pair, label = pair_column or pair, label_column or seen.guess.label_column
    domain = load_domain(data, data.stem, text, label, pair_column=pair)
    summary = summarise(domain, _find_tokenizer(model) if model else None)
    found = {
        "data": str(data),
        "columns": list(seen.columns),
        "guess": seen.guess.reason,
        "text_column": text,
        "pair_column": pair,
        "label_column": label,
        "rows": [list(row) for row in seen.rows],
        **summary.describe(),
    }
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print(found)


def _find_tokenizer(model: str) -> Any:
    from fusion_ui.checkpoints.finding import find_checkpoint
    from fusion_ui.tasks.sequence_classification import Tokenizer

    settings = open_workspace().settings
    return Tokenizer(find_checkpoint(model, model, settings), settings.max_tokens_per_text)


def _line(text: str) -> str:
    """Text from a file on one line, cut, and without characters that would move the terminal's cursor."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split())[:60])


def _print(found: dict[str, Any]) -> None:
    used = [f"{kind} {found[f'{kind}_column']!r}" for kind in ("text", "pair", "label") if found[f"{kind}_column"]]
    print(f"{found['data']}: {found['num_rows']:,} rows, read as {', '.join(used)}")
    print(f"guess       {found['guess']}")
    print(f"columns     {', '.join(found['columns'])}")
    for row in found["rows"]:
        print("  " + " | ".join(_line(cell) for cell in row))
    counts = list(found["num_by_label"].items())
    for label, count in counts[:MAX_LABELS]:
        print(f"{count / found['num_rows']:7.1%}     {_line(label)} ({count:,})")
    if len(counts) > MAX_LABELS:
        print(f"            and {len(counts) - MAX_LABELS:,} labels more")
    if tokens := found["tokens"]:
        lengths = ", ".join(f"{name} {tokens[name]:,}" for name in ("min", "median", "95%", "max"))
        print(f"tokens      {lengths}; {tokens['truncated_share']:.1%} over {tokens['max_length']:,} are cut")
    print(f"duplicates  {found['num_duplicates']:,}")
    for note in found["notes"]:
        print(f"note        {note}")
