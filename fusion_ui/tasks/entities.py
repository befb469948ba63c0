"""Entities: stretches of words that tags such as B-PER and I-PER mark, found as seqeval finds them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

OUTSIDE = "O"
_TAG = re.compile(r"(?P<place>[BIES])([-_](?P<kind>.+))?", re.IGNORECASE)
Entity = tuple[str, int, int]
"""Kind, first and last word."""


def entity_tags(label_names: Sequence[str]) -> tuple[str, ...]:
    """Labels as seqeval spells them: IOB1, IOB2 and IOBES; empty where they are not all of that kind."""
    tags = [_spell(name) for name in label_names]
    is_scheme = any(tag != OUTSIDE for tag in tags)
    return tuple(tag for tag in tags if tag) if is_scheme and None not in tags else ()


def entity_kinds(tags: Sequence[str]) -> tuple[str, ...]:
    """What is marked, such as PER and LOC, in alphabetical order; an underscore where tags name none."""
    return tuple(sorted({tag[2:] or "_" for tag in tags if tag != OUTSIDE}))


@lru_cache(maxsize=100_000)
def find_entities(tags: tuple[str, ...]) -> frozenset[Entity]:
    """The entities of one sentence. Where I-PER follows no PER, an entity begins all the same, as in conlleval."""
    from seqeval.metrics.sequence_labeling import get_entities

    return frozenset(get_entities(list(tags)))


def describe_gaps(label_names: Sequence[str]) -> list[str]:
    """A sentence on kinds that no tag begins, or that no entities are marked at all."""
    tags = entity_tags(label_names)
    if not tags:
        return ["Its labels are not all O, B-… or I-…, so no entities are counted: words are scored one by one."]
    gaps = [kind for kind in entity_kinds(tags) if not {f"B-{kind}", f"S-{kind}", "B", "S"} & {*tags}]
    listed = ", ".join(f"I-{kind} and no B-{kind}" for kind in gaps[:5])
    return [f"It knows {listed}: two such entities side by side are read as one."] if gaps else []


def _spell(name: str) -> str | None:
    """B-PER for b_PER; None for what is no such tag."""
    if name.upper() == OUTSIDE:
        return OUTSIDE
    found = _TAG.fullmatch(name)
    return found and found["place"].upper() + (f"-{found['kind']}" if found["kind"] else "")
