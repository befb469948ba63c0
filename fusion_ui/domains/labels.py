"""Labels are matched by name, never by position."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from fusion_ui.domains.cells import normalise_label
from fusion_ui.errors import DomainError

_DECIMAL = re.compile(r"[+-]?([0-9]*\.[0-9]+(e[+-]?[0-9]+)?|[0-9]+e[+-]?[0-9]+)")
_NUM_SHOWN = 10


def encode_labels(domain: str, labels: Sequence[str], label_names: Sequence[str]) -> tuple[int, ...]:
    """Position of each label among a model's label names, compared without case.

    Where the model has none of these names, whole numbers that all lie in range stand for positions, and false and
    true for those of a model with two labels.

    Raises:
        DomainError: a label is not one of the model's; the message lists both sets.
    """
    keys = {label: normalise_label(label).casefold() for label in set(labels)}
    positions = {normalise_label(name).casefold(): i for i, name in enumerate(label_names)}
    if not any(key in positions for key in keys.values()):
        positions = {str(i): i for i in range(len(label_names))}
        if len(label_names) == 2 and set(keys.values()) <= {"false", "true"}:
            positions = {"false": 0, "true": 1}
    unknown = sorted(label for label, key in keys.items() if key not in positions)
    if unknown:
        raise DomainError(
            f"The domain {domain} has the label {_listed(unknown)}, which the model does not know. "
            f"It knows: {', '.join(label_names)}. {_advise(unknown, len(labels))}"
        )
    return tuple(positions[keys[label]] for label in labels)


def _listed(labels: Sequence[str]) -> str:
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
