"""Checks of domains before they are used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from fusion_ui.domains.domain import Domain
from fusion_ui.domains.items import label_items, show_items


def find_overlap(a: Domain, b: Domain) -> tuple[str, ...]:
    """Texts of `a` that `b` has too, each once, in the order of `a`; case and white space are not compared.

    Where both hold pairs, both texts of a pair have to be the same; the first of them is given back.
    """
    with_pairs = bool(a.pairs and b.pairs)
    known = set(_keys(b, with_pairs))
    found: dict[tuple[str, ...], str] = {}
    for key, text in zip(_keys(a, with_pairs), a.texts, strict=True):
        if key in known:
            found.setdefault(key, text)
    return tuple(found.values())


def describe_overlap(a: Domain, b: Domain) -> str | None:
    """A sentence on the texts of `a` that `b` has too, with the first of them; None where there are none."""
    shared = find_overlap(a, b)
    if not shared:
        return None
    number = "1 sentence" if len(shared) == 1 else f"{len(shared):,} sentences"
    stand = "stands" if len(shared) == 1 else "stand"
    example = show_items(shared[0])[:60]
    return f"{number} of {a.name} ({a.split}) {stand} in {b.name} ({b.split}) too, for example {example!r}."


def describe_overlaps(evaluated: Iterable[Domain], calibration: Sequence[Domain]) -> list[str]:
    """`describe_overlap` of each of the one with each of the other."""
    found = [describe_overlap(a, b) for a in evaluated for b in calibration]
    return [sentence for sentence in found if sentence is not None]


def find_duplicates(domain: Domain) -> tuple[int, ...]:
    """Positions of the examples that stand further up already, compared as by `find_overlap`."""
    known: set[tuple[str, ...]] = set()
    repeated = []
    for position, key in enumerate(_keys(domain, bool(domain.pairs))):
        if key in known:
            repeated.append(position)
        known.add(key)
    return tuple(repeated)


def count_labels(domain: Domain) -> dict[str, int]:
    """How often each label occurs, most frequent first, equals by name; empty where the text has no labels.

    Of labels that are lists, what is counted are their items.
    """
    counts = Counter(item for label in domain.labels for item in label_items(label))
    return {label: counts[label] for label in sorted(counts, key=lambda label: (-counts[label], label))}


def _keys(domain: Domain, with_pairs: bool) -> list[tuple[str, ...]]:
    """What two examples have in common that are the same apart from case and white space."""
    parts = (domain.texts, domain.pairs) if with_pairs else (domain.texts,)
    return [tuple(" ".join(text.split()).casefold() for text in example) for example in zip(*parts, strict=True)]
