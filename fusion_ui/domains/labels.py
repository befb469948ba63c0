"""Labels are matched by name, never by position."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from fusion_ui.domains.cells import is_list, normalise_label
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.items import join_items, show_items
from fusion_ui.errors import DomainError

_DECIMAL = re.compile(r"[+-]?([0-9]*\.[0-9]+(e[+-]?[0-9]+)?|[0-9]+e[+-]?[0-9]+)")
_NUM_SHOWN = 10


def encode_labels(domain: str, labels: Sequence[str], label_names: Sequence[str]) -> tuple[int, ...]:
    """Position of each label among a model's label names, compared without case.

    Where the model has none of these names, whole numbers that all lie in range stand for positions, and false and
    true for those of a model with two labels.

    Raises:
        DomainError: a label is not one of the model's, or a list; the message lists both sets.
    """
    if (several := next(filter(is_list, labels), None)) is not None:
        raise DomainError(
            f"The domain {domain} has a list where one label is needed: {show_items(several)[:80]!r}. "
            "Choose another label column."
        )
    keys = {label: normalise_label(label).casefold() for label in set(labels)}
    positions = {normalise_label(name).casefold(): i for i, name in enumerate(label_names)}
    if not any(key in positions for key in keys.values()):
        positions = {str(i): i for i in range(len(label_names))}
        if len(label_names) == 2 and set(keys.values()) <= {"false", "true"}:
            positions = {"false": 0, "true": 1}
    unknown = sorted(label for label, key in keys.items() if key not in positions)
    if unknown:
        raise DomainError(
            f"The domain {domain} has the label {listed(unknown)}, which the model does not know. "
            f"It knows: {', '.join(label_names)}. {_advise(unknown, len(labels))}"
        )
    return tuple(positions[keys[label]] for label in labels)


def name_numbers(
    domain: Domain,
    label_names: Sequence[str],
    own_labels: Mapping[str, Sequence[str]],
    split: Callable[[str], tuple[str, ...]] = lambda label: (label,),
) -> Domain:
    """The domain with numbers for labels replaced by the names that they stand for in its own expert.

    Args:
        label_names: labels among which models choose, perhaps those of several experts together; none of models that
            write text.
        own_labels: domain name -> labels of its own expert, in order.
        split: the names in an example's label, of which there may be several.

    Raises:
        DomainError: numbers, an order that differs between the experts, and no expert of the domain.
    """
    known = {normalise_label(name).casefold() for name in label_names}
    parts = {label: split(label) for label in set(domain.labels)}
    found = sorted({name for part in parts.values() for name in part})
    if not found or not label_names or any(normalise_label(name).casefold() in known for name in found):
        return domain
    orders = {tuple(names) for names in own_labels.values()}
    own = own_labels.get(domain.name) or (orders.pop() if len(orders) == 1 else None)
    if own is None and orders:
        raise DomainError(
            f"The domain {domain.name} has numbers for labels, and the models have their labels in different orders. "
            "Write the labels' names into the file, or make it some model's own domain."
        )
    if own is None:
        return domain
    names = {name: own[i] for name, i in zip(found, encode_labels(domain.name, found, own), strict=True)}
    named = {
        label: names[label] if part == (label,) else join_items([names[name] for name in part])
        for label, part in parts.items()
    }
    return replace(domain, labels=tuple(named[label] for label in domain.labels))


def unite_labels(experts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Every label of some experts once, compared without case, as the first of them writes it."""
    known: dict[str, str] = {}
    for label in (label for names in experts for label in names):
        known.setdefault(label.casefold(), label)
    return tuple(known.values())


def listed(labels: Sequence[str]) -> str:
    """The first few labels, for a message."""
    shown = ", ".join(repr(label[:80]) for label in labels[:_NUM_SHOWN])
    return shown if len(labels) <= _NUM_SHOWN else f"{shown} and {len(labels) - _NUM_SHOWN:,} others"


def _advise(unknown: Collection[str], num_labels: int) -> str:
    if len(unknown) > 2 and all(_DECIMAL.fullmatch(label.casefold()) for label in unknown):
        return "These numbers look like a quantity to predict (regression) and not like classes: choose another column."
    if len(unknown) > max(20, num_labels / 2):
        return (
            f"{len(unknown):,} different labels in {num_labels:,} rows look like free text or a quantity and not like "
            f"classes: choose another label column."
        )
    return "Rename the labels, or choose another label column."
