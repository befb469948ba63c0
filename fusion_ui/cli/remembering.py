"""The command about what the page remembers."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import AsJson
from fusion_ui.errors import RecipeError
from fusion_ui.settings import read_settings


@app.command()
def history(
    compare: Annotated[
        tuple[str, str] | None, typer.Option(help="Two keys, or their beginnings: the first against the second.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the merges that the page scored on this machine, newest first, or compare two of them in pairs."""
    from dataclasses import asdict

    from fusion_ui.results.difference import compare_merges
    from fusion_ui.results.history import RememberedMerge
    from fusion_ui.results.store import HistoryStore

    settings = read_settings()
    if not settings.allows_folders:
        raise RecipeError("The page is open to others here, and what they merged is theirs. Look at it on the page.")
    store = HistoryStore(settings.history_dir, settings.max_history_bytes)
    merges = [merge for one in store.read_all() for merge in one.merges.values()]
    merges.sort(key=lambda merge: (bool(merge.name), merge.time))
    once = {merge.key: merge for merge in merges}  # several browsers may have come to the same merge
    merges = sorted(once.values(), key=lambda merge: merge.time, reverse=True)

    def find(start: str) -> RememberedMerge:
        found = [merge for merge in merges if start and merge.key.startswith(start)]
        if len(found) != 1:
            raise RecipeError(f"{len(found)} merges have a key that begins with {start[:40]!r}. Name exactly one.")
        return found[0]

    if compare:
        first, second = map(find, compare)
        difference = compare_merges(first, second)
        if as_json:
            values = {"first": first.key, "second": second.key, "words": difference.words, **asdict(difference)}
            print(json.dumps(values, indent=2))
        else:
            print(f"{first.label} against {second.label}: {difference.words}.\n{difference.detail}")
        return
    if as_json:
        print(
            json.dumps([asdict(merge) | {"mean": merge.mean, "interval": merge.interval} for merge in merges], indent=2)
        )
        return
    for merge in merges:
        low, high = merge.interval
        when = datetime.fromtimestamp(merge.time).strftime("%Y-%m-%d %H:%M")
        named = f"{merge.name} ({merge.title})" if merge.name else merge.title
        mean = f"{merge.scale.show(merge.mean):>6} {merge.scale.write_interval(low, high)}"
        print(f"{merge.key[:8]}  {when}  {mean}  {named}")
        scores = ", ".join(f"{d.title} {d.score.scale.write(d.score.value)}" for d in merge.domains)
        print(f"          {merge.project_title}, {' + '.join(merge.settings['experts'])}: {scores}")
