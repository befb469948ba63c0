"""Under which licences the experts of a merge stand, as their own cards say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.errors import SourceError
from fusion_ui.sources.hub_card import MAX_CARD_BYTES, parse_card
from fusion_ui.sources.hub_download import find_cached_card
from fusion_ui.sources.local import is_directory

NOT_STATED = "not stated"


def read_licence(model: Checkpoint) -> str:
    """The licence that the card beside a model names; `NOT_STATED` without a card, or where it names none.

    An adapter that was folded into its base has its card where it came from.
    """
    places = [model.directory / "README.md"]
    if model.revision:
        places += filter(None, [find_cached_card(model.source, model.revision)])
    elif is_directory(model.source):
        places.append(Path(model.source) / "README.md")
    for place in places:
        if place.is_file() and place.stat().st_size <= MAX_CARD_BYTES:
            try:
                card = parse_card(place.read_text(encoding="utf-8", errors="replace"), f"model {model.name}")
            except SourceError:
                return "not readable in its card"
            names = card.get("license_name") if card.get("license") == "other" else None
            found = names or card.get("license")
            listed = found if isinstance(found, list) else [found]
            return ", ".join(str(name)[:80] for name in listed if name) or NOT_STATED
    return NOT_STATED


def shared_licence(licences: Sequence[str]) -> str | None:
    """The one licence under which all stand; None where they differ or one of them is not known."""
    return licences[0] if len(set(licences)) == 1 and is_known(licences[0]) else None


def is_known(licence: str) -> bool:
    """True if a card named the licence."""
    return not licence.startswith("not ")


def describe_licences(names: Sequence[str], licences: Sequence[str]) -> str:
    """A sentence on what the experts' licences mean for their merge."""
    if shared := shared_licence(licences):
        return f"All experts state the licence {shared}."
    unknown = [name for name, licence in zip(names, licences, strict=True) if not is_known(licence)]
    stated = {licence for licence in licences if is_known(licence)}
    parts = []
    if len(stated) > 1:
        parts.append(f"The experts' licences differ: {', '.join(sorted(stated))}. A merge has to respect all of them.")
    if unknown:
        parts.append(f"No licence is known of {', '.join(unknown)}: ask their authors before passing the merge on.")
    return " ".join(parts)
