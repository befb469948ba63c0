"""Text whose every word has a label, such as those of named entities."""

from __future__ import annotations

from dataclasses import replace

from fusion_ui.domains.cells import is_list
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.items import join_items, split_items


def has_tagged_words(domain: Domain) -> bool:
    """True if every label has as many items as its text has words, and lists or several of them."""
    counts = [len(split_items(label)) for label in domain.labels]
    if domain.pairs or not (any(count > 1 for count in counts) or any(map(is_list, domain.labels))):
        return False
    return all(len(split_items(text)) == count for text, count in zip(domain.texts, counts, strict=True))


def list_words(domain: Domain) -> Domain:
    """Tagged words as lists, also where they were written as texts with spaces; any other domain as it is."""
    if not has_tagged_words(domain):
        return domain
    texts, labels = (tuple(map(_as_list, part)) for part in (domain.texts, domain.labels))
    return replace(domain, texts=texts, labels=labels)


def _as_list(text: str) -> str:
    return join_items(items) if (items := split_items(text)) else text
