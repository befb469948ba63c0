"""A visitor's history as what the list on the page draws."""

from __future__ import annotations

from typing import Any

from fusion_ui.results.history import History, RememberedMerge
from fusion_ui.ui.panels.project import OWN
from fusion_ui.ui.session import Session


def list_merges(history: History, session: Session) -> dict[str, Any]:
    """A row a merge, newest first; those that the figures show now say so."""
    shown = {session.remembered.get(name) for name in session.shown}
    return {"rows": [_describe(merge) | {"isShown": merge.key in shown} for merge in history.newest_first]}


def _describe(merge: RememberedMerge) -> dict[str, Any]:
    low, high = merge.interval
    experts, weights = merge.settings["experts"], merge.settings["weights"]
    said = [merge.title] if merge.name else []
    said += [f"{len(experts)} models" if len(experts) > 3 else " + ".join(experts)]
    said += [f"{name} × {weight:g}" for name, weight in weights.items() if name in experts]
    said += [f"{sum(d.score.num_examples for d in merge.domains):,} sentences", merge.project_title]
    said += ["restoring needs its models here"] if merge.project == OWN else []
    return {
        "key": merge.key,
        "label": merge.label,
        "color": merge.color,
        "time": merge.time,
        "isSettled": merge.is_settled or bool(merge.name),
        "mean": merge.scale.show(merge.mean),
        "interval": merge.scale.write_interval(low, high),
        "about": " · ".join(said),
        "domains": " · ".join(f"{d.title} {d.score.scale.write(d.score.value)}" for d in merge.domains),
    }
