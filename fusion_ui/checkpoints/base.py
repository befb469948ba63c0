"""Where a base model has the parameters that its fine-tuned experts have.

A base is often published with another head than the experts' or with none, under another prefix, or with the names
that LayerNorm's parameters had in old checkpoints. What it truly lacks, such as the classification head, has no task
vector; the rest must fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from fusion_ui.checkpoints.compatibility import ModelHeader
from fusion_ui.errors import IncompatibleError

OLD_NAMES = ((".LayerNorm.weight", ".LayerNorm.gamma"), (".LayerNorm.bias", ".LayerNorm.beta"))
LEAST_SHARE = 0.8
"""Of an expert's weights, by count, that its base must have. Heads and poolers are far less than the rest."""


def match_base(base: ModelHeader, expert: ModelHeader) -> Mapping[str, str]:
    """Expert's parameter -> the base's name for it; parameters that the base lacks are missing.

    Raises:
        IncompatibleError: the base lacks most of the expert's weights, or has them in other shapes.
    """
    found: dict[str, str] = {}
    for name, shape in expert.shapes.items():
        own = next((candidate for candidate in _candidates(name, expert) if candidate in base.shapes), None)
        if own is None:
            continue
        if base.shapes[own] == shape:
            found[name] = own
        elif shape[1:] != base.shapes[own][1:] or len(shape) == 0:
            raise IncompatibleError(
                f"{base.name} is not the base of {expert.name}: {name} has shape {list(base.shapes[own])} in the one "
                f"and {list(shape)} in the other. Name the model that the experts were fine-tuned from."
            )
    covered = sum(math.prod(expert.shapes[name]) for name in found)
    total = sum(map(math.prod, expert.shapes.values()))
    if covered < LEAST_SHARE * total:
        raise IncompatibleError(
            f"{base.name} is not the base of {expert.name}: it has {covered / total:.0%} of its weights. "
            "Name the model that the experts were fine-tuned from."
        )
    return found


def _candidates(name: str, expert: ModelHeader) -> Iterator[str]:
    """Names that the same parameter may have in a base, the likeliest first."""
    spellings = [name, *(name.removesuffix(new) + old for new, old in OLD_NAMES if name.endswith(new))]
    prefix, _, rest = name.partition(".")
    is_encoder = sum(other.startswith(f"{prefix}.") for other in expert.shapes) > len(expert.shapes) / 2
    for spelling in spellings:
        yield spelling
        if is_encoder and rest:  # saved without a head, the encoder's names have no prefix
            yield spelling.partition(".")[2]
