"""What a domain looks like before it is used: its classes, its lengths in tokens, its duplicates."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Protocol, runtime_checkable

from fusion_ui.domains.checks import count_labels, find_duplicates
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.tagged_words import has_tagged_words, list_words

MAX_COUNTED = 2_000
"""Rows whose tokens are counted, drawn at random."""
MAX_COMPARED = 100_000
"""Rows among which duplicates are looked for, from the first on."""
MAX_CHARACTERS = 20_000
"""Of a text, up to which its tokens are counted."""


@runtime_checkable
class TokenCounter(Protocol):
    """What is asked of a model's tokenizer.

    Attributes:
        max_tokens: how many tokens of a text the model is given.
    """

    max_tokens: int

    def count_tokens(self, texts: Sequence[str], pairs: Sequence[str] = ()) -> list[int]:
        """Tokens of each text, or of each text with its pair, special tokens included, before anything is cut."""
        ...


@dataclass(frozen=True)
class TokenLengths:
    """How many tokens examples have, special tokens included and before anything is cut.

    Attributes:
        lengths: of every example that was counted, the shortest first; at least one.
        max_length: tokens that the model is given; what is longer is cut.
    """

    lengths: tuple[int, ...]
    max_length: int

    def quantile(self, share: float) -> int:
        """The smallest length that at least `share` of the examples do not exceed."""
        return self.lengths[max(0, ceil(share * len(self.lengths)) - 1)]

    @property
    def truncated_share(self) -> float:
        """The share of examples that are longer than `max_length`, from 0 to 1."""
        return sum(length > self.max_length for length in self.lengths) / len(self.lengths)


@dataclass(frozen=True)
class DomainSummary:
    """What a person should know of a domain before it is used.

    Attributes:
        name: the domain's.
        num_rows: examples in it.
        num_by_label: label -> how many rows or words have it, most frequent first; empty where the text has no labels.
        token_lengths: None where no tokenizer was given.
        num_duplicates: rows that repeat one further up, compared without case and white space.
        notes: sentences, the domain's own first.
        num_words: of all rows, where every word has a label of its own; else None.
    """

    name: str
    num_rows: int
    num_by_label: Mapping[str, int]
    token_lengths: TokenLengths | None
    num_duplicates: int
    notes: tuple[str, ...]
    num_words: int | None = None

    def describe(self) -> dict[str, Any]:
        """Plain JSON values, as ``fusion-ui inspect --json`` prints them."""
        found, tokens = self.token_lengths, None
        if found is not None:
            quantiles = {"min": 0.0, "median": 0.5, "95%": 0.95, "max": 1.0}
            tokens = {name: found.quantile(share) for name, share in quantiles.items()}
            tokens |= {"max_length": found.max_length, "truncated_share": found.truncated_share}
        return {
            "num_rows": self.num_rows,
            "num_words": self.num_words,
            "num_by_label": dict(self.num_by_label),
            "tokens": tokens,
            "num_duplicates": self.num_duplicates,
            "notes": list(self.notes),
        }


def summarise(domain: Domain, tokenizer: TokenCounter | None = None, max_length: int | None = None) -> DomainSummary:
    """Classes, lengths and duplicates of a domain. Huge ones are sampled, which a note says.

    Args:
        tokenizer: of the model that is to read the domain; None leaves lengths out.
        max_length: tokens above which a text counts as cut; None: as many as the tokenizer gives the model.
    """
    domain, notes, lengths = list_words(domain), list(domain.notes), None
    if tokenizer is not None and domain.texts:
        counted = _draw(domain, MAX_COUNTED)
        lengths = TokenLengths(_count(counted, tokenizer), max_length or tokenizer.max_tokens)
        if len(counted.texts) < len(domain.texts):
            notes.append(f"Tokens were counted in {MAX_COUNTED:,} of {len(domain.texts):,} rows, drawn at random.")
        if num_long := sum(len(text) > MAX_CHARACTERS for text in (*counted.texts, *counted.pairs)):
            notes.append(f"{num_long:,} texts of more than {MAX_CHARACTERS:,} characters were counted to there.")
    if len(domain.texts) > MAX_COMPARED:
        notes.append(f"Duplicates were looked for in the first {MAX_COMPARED:,} of {len(domain.texts):,} rows.")
    compared = _choose(domain, range(min(len(domain.texts), MAX_COMPARED)))
    num_duplicates = len(find_duplicates(compared))
    by_label = count_labels(domain)
    num_words = sum(by_label.values()) if has_tagged_words(domain) else None
    counts = len(domain.texts), by_label, lengths, num_duplicates
    return DomainSummary(domain.name, *counts, tuple(notes), num_words)


def _count(domain: Domain, tokenizer: TokenCounter) -> tuple[int, ...]:
    texts, pairs = ([text[:MAX_CHARACTERS] for text in part] for part in (domain.texts, domain.pairs))
    return tuple(sorted(tokenizer.count_tokens(texts, pairs)))


def _draw(domain: Domain, most: int) -> Domain:
    """At most `most` rows, the same ones every time."""
    num_rows = len(domain.texts)
    return domain if num_rows <= most else _choose(domain, random.Random(0).sample(range(num_rows), most))


def _choose(domain: Domain, rows: Sequence[int]) -> Domain:
    texts, pairs = (tuple(part[i] for i in rows) if part else () for part in (domain.texts, domain.pairs))
    return replace(domain, texts=texts, pairs=pairs, labels=())
