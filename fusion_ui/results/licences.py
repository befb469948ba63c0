"""Under which licences the experts of a merge stand, as their own cards say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.errors import SourceError
from fusion_ui.sources.hub_access import is_behind_token
from fusion_ui.sources.hub_card import MAX_CARD_BYTES, Card, parse_card
from fusion_ui.sources.hub_download import find_cached_card
from fusion_ui.sources.local import is_directory

NOT_STATED = "not stated"
UNREADABLE = "not readable in its card"


@dataclass(frozen=True)
class Terms:
    """Under which terms a model stands.

    Attributes:
        licence: its name, `NOT_STATED` or `UNREADABLE`.
        is_gated: it was given only to those who asked for it at the hub and accepted its terms.
        base, base_licence: of an adapter that was folded into a hub model, that model and its licence.
    """

    licence: str
    is_gated: bool = False
    base: str | None = None
    base_licence: str | None = None

    @property
    def is_known(self) -> bool:
        """True if a card named the licence."""
        return self.licence not in (NOT_STATED, UNREADABLE)


def read_terms(model: Checkpoint) -> Terms:
    """What the card beside a model says; an adapter that was folded into its base has its card where it came from."""
    places = [model.directory / "README.md"]
    if model.revision:
        places += filter(None, [find_cached_card(model.source, model.revision)])
    elif is_directory(model.source):
        places.append(Path(model.source) / "README.md")
    licence, is_gated = _read_card(places, model.name)
    is_gated = is_gated or is_behind_token(model.directory)
    if model.base is None:
        return Terms(licence, is_gated)
    base, _, commit = model.base.partition("@")
    found = find_cached_card(base, commit)
    return Terms(licence, is_gated, base, _read_card([found] if found else [], base)[0])


def _read_card(places: Sequence[Path], name: str) -> tuple[str, bool]:
    """The licence that the first card at these places names, and whether it asks people to accept terms."""
    for place in places:
        if place.is_file() and place.stat().st_size <= MAX_CARD_BYTES:
            try:
                card = parse_card(place.read_text(encoding="utf-8", errors="replace"), f"model {name}")
            except SourceError:
                return UNREADABLE, False
            return _named(card) or NOT_STATED, any(str(key).startswith("extra_gated_") for key in card)
    return NOT_STATED, False


def _named(card: Card) -> str:
    names = card.get("license_name") if card.get("license") == "other" else None
    found = names or card.get("license")
    listed = found if isinstance(found, list) else [found]
    return ", ".join(str(name)[:80] for name in listed if name)


def shared_licence(terms: Sequence[Terms]) -> str | None:
    """The one licence under which all stand, and the bases of adapters with them; None where one differs, or is not
    known.
    """
    stated = {term.licence for term in terms} | {term.base_licence for term in terms if term.base_licence}
    return terms[0].licence if len(stated) == 1 and terms[0].is_known else None


def describe_terms(names: Sequence[str], terms: Sequence[Terms]) -> str:
    """Sentences on what the experts' terms mean for their merge."""
    return " ".join(_sentences(names, terms))


def _sentences(names: Sequence[str], terms: Sequence[Terms]) -> Iterator[str]:
    stated = {term.licence for term in terms if term.is_known}
    if len(stated) == 1 and all(term.is_known for term in terms):
        yield f"All experts state the licence {stated.pop()}."
    elif len(stated) > 1:
        yield f"The experts' licences differ: {', '.join(sorted(stated))}. A merge has to respect all of them."
    of = list(zip(names, terms, strict=True))
    for name in (name for name, term in of if term.licence == NOT_STATED):
        yield f"{name} states no licence: ask its author before passing the merge on."
    for name in (name for name, term in of if term.licence == UNREADABLE):
        yield f"The card of {name} cannot be read: look up its licence before passing the merge on."
    for name in (name for name, term in of if term.is_gated):
        yield f"{name} is gated: its terms were accepted by whoever downloaded it, and they apply to the merge too."
    bases = {term.base: term.base_licence for term in terms if term.base}
    for base, licence in bases.items():
        known = licence not in (None, NOT_STATED, UNREADABLE)
        what = f"stands under the licence {licence}" if known else "states no licence that could be read here"
        yield f"The adapters' base model {base} {what}."
