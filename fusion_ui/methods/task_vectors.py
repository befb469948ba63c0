"""What methods on task vectors share: trim each by itself, combine them, and go so far from the base."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.methods.base import Merged
from fusion_ui.methods.signs import average_agreeing
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.parameters import Range
from fusion_ui.solving.treatment import Treatment

Trim = Callable[[Float[Tensor, "..."], int], Float[Tensor, "..."]]
"""From one expert's task vector and that expert's number to what is left of it."""

SUM_SCALING = Range(
    0,
    2,
    step=0.05,
    label="Scaling λ",
    symbol="λ",
    help="How far to go along the sum of the task vectors. At 1 / number of experts it is their mean.",
    detail="More than that keeps more of every expert, and brings more of what they disagree in.",
    minimum_label="base model",
)
MEAN_SCALING = Range(
    0,
    2,
    step=0.05,
    label="Scaling λ",
    symbol="λ",
    help="How far to go along the merged task vector, which is as long as one expert's.",
    detail="0 is the base model, 1 the whole of it, and beyond 1 the merge extrapolates.",
    minimum_label="base model",
)


def add_trimmed(slot: ParameterSlot, trim: Trim, scaling: float) -> Merged:
    """theta_0 + lambda sum_i c_i trim(tau_i)."""
    vectors, total = _TrimmedVectors(slot, trim), torch.zeros_like(slot.experts[0])
    for coefficient, vector in vectors:
        total.add_(vector, alpha=coefficient)
    return slot.add_to_base(total, scaling), Treatment("task vectors", share_kept=vectors.share_kept)


def add_agreeing(slot: ParameterSlot, trim: Trim, scaling: float) -> Merged:
    """theta_0 + lambda times the mean of those trim(tau_i) that agree with the elected sign, weighted by c_i."""
    vectors = _TrimmedVectors(slot, trim)
    pairs = list(vectors)
    if not pairs:
        return slot.add_to_base(torch.zeros_like(slot.experts[0]), scaling), Treatment("task vectors")
    mean, share = average_agreeing([vector for _, vector in pairs], [coefficient for coefficient, _ in pairs])
    treatment = Treatment("task vectors", share_kept=vectors.share_kept, share_conflicting=share)
    return slot.add_to_base(mean, scaling), treatment


class _TrimmedVectors:
    """c_i and trim(tau_i), one after another so that memory holds one at a time, and how much was kept so far."""

    def __init__(self, slot: ParameterSlot, trim: Trim) -> None:
        self._slot, self._trim = slot, trim
        self._num_changed = self._num_kept = 0

    def __iter__(self) -> Iterator[tuple[float, Tensor]]:
        for expert, coefficient in enumerate(self._slot.coefficients):
            vector = self._slot.task_vector(expert)
            num_changed = int(vector.count_nonzero())
            if num_changed == 0:  # frozen in training, as embeddings often are: nothing to trim, nothing to add
                continue
            trimmed = self._trim(vector, expert)
            self._num_changed += num_changed
            self._num_kept += int(trimmed.count_nonzero())
            yield coefficient, trimmed

    @property
    def share_kept(self) -> float:
        """Entries not trimmed away, of those that are not zero."""
        return self._num_kept / self._num_changed if self._num_changed else 1.0
