"""Labels of a text as one 0 or 1 for every label of a model, in its order ("multi-hot")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fusion_ui.domains.cells import normalise_label
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.items import join_items
from fusion_ui.errors import DomainError

_VALUES = {"0": False, "1": True, "false": False, "true": True}


def name_multi_hot(domain: Domain, label_names: Sequence[str], split: Callable[[str], tuple[str, ...]]) -> Domain:
    """The domain with names in place of such lists, if all of its labels are that; else as it is.

    Args:
        split: what stands in the label of a text, in order and as often as it stands there.

    Raises:
        DomainError: a number stands in a label twice, so that the numbers are no positions of labels either.
    """
    parts = {label: tuple(normalise_label(item).casefold() for item in split(label)) for label in set(domain.labels)}
    known = {normalise_label(name).casefold() for name in label_names}
    if any(item in known for part in parts.values() for item in part):
        return domain
    if parts and all(len(part) == len(label_names) and _VALUES.keys() >= set(part) for part in parts.values()):
        named = {
            label: join_items([name for name, item in zip(label_names, part, strict=True) if _VALUES[item]])
            for label, part in parts.items()
        }
        return replace(domain, labels=tuple(named[label] for label in domain.labels))
    for row, label in enumerate(domain.labels, start=1):
        part = parts[label]
        numbers = [item for item in part if item.isdecimal() or item in _VALUES]
        if len(set(numbers)) < len(numbers):
            raise DomainError(
                f"Example {row} of the domain {domain.name} has the labels [{', '.join(part)[:80]}]. Positions of "
                f"labels do not repeat, and lists of 0 and 1 need one for each of the {len(label_names)} labels of "
                f"the model in every row: {', '.join(label_names)[:200]}. Write names, or complete the lists."
            )
    return domain
