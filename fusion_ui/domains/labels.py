"""Labels are matched by name, never by position."""

from __future__ import annotations

from collections.abc import Sequence

from fusion_ui.errors import DomainError


def encode_labels(domain: str, labels: Sequence[str], label_names: Sequence[str]) -> tuple[int, ...]:
    """Position of each label among a model's label names, compared without case.

    Whole numbers in the text stand for positions where they all lie in range and the model has no label of that name.

    Raises:
        DomainError: a label is not one of the model's; the message lists both sets.
    """
    positions = {name.casefold(): i for i, name in enumerate(label_names)}
    if not any(label.casefold() in positions for label in labels):
        positions = {str(i): i for i in range(len(label_names))}
    unknown = sorted({label for label in labels if label.casefold() not in positions})
    if unknown:
        raise DomainError(
            f"The domain {domain} has the label {unknown[0][:80]!r}, which the model does not know. "
            f"It knows: {', '.join(label_names)}. Rename the labels, or choose another label column."
        )
    return tuple(positions[label.casefold()] for label in labels)
