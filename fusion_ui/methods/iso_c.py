"""Iso-C: the summed task matrix with all directions equally strong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.parameters import Range
from fusion_ui.solving.spectrum import NOTHING_LEFT, decompose, rounding_floor
from fusion_ui.solving.treatment import Treatment


@dataclass(frozen=True)
class IsoC(MergeMethod):
    """Add up the task matrices and make all directions of the sum equally strong (Marczak et al., 2025).

    As in the paper's code, parameters that are no matrices get the mean task vector. So do tables of embeddings, which
    the paper's models do not merge: their rows are words, not a map. Singular values that only rounding made are left
    out, and the mean is over the others: experts that are low-rank adapters span few directions, and the paper's code
    would make hundreds of directions of noise as strong as these.
    """

    name: ClassVar = "iso_c"
    title: ClassVar = "Iso-C"
    paper: ClassVar = "https://arxiv.org/abs/2502.04959"
    formula: ClassVar = "W = W_0 + lambda mean(S) U V^T,  U diag(S) V^T = sum_i c_i tau_i  (c_i = 1 when equal)"
    needs_base: ClassVar = True
    keeps_identical: ClassVar = False
    color: ClassVar = "#b42d63"

    scaling_coefficient: Annotated[
        float,
        Range(
            0,
            3,
            step=0.05,
            label="Scaling coefficient λ",
            symbol="λ",
            help="How much of the merged update is added to the base model.",
            detail="Where many experts pull apart, less than all of it may do better.",
            minimum_label="base model",
        ),
    ] = 1.0

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        return self.prepare_parameter(slot)(self)

    @classmethod
    def prepare_parameter(cls, slot: ParameterSlot, settings: Sequence[IsoC] = ()) -> Callable[[IsoC], Merged]:
        assert slot.base is not None  # see `needs_base`
        base, (update, treatment) = slot.base, _merge_updates(slot, slot.base)
        return lambda method: (base + method.scaling_coefficient * update, treatment)


def _merge_updates(slot: ParameterSlot, base: Float[Tensor, "..."]) -> tuple[Float[Tensor, "..."], Treatment]:
    if not slot.is_linear:
        return slot.mean - base, Treatment("mean task vector", reason="not the weight of a linear layer")
    total, floor = torch.zeros_like(slot.mean, dtype=torch.float64), 0.0
    for coefficient, expert in zip(slot.coefficients, slot.experts, strict=True):
        total.add_(expert.double() - base, alpha=coefficient)
        floor += coefficient * rounding_floor(expert, slot.stored_eps)
    found = decompose(total, floor)
    if len(found.values) == 0:
        return torch.zeros_like(slot.mean), Treatment("base", num_cut=found.num_cut, reason=NOTHING_LEFT)
    size = found.values.mean()
    return (size * found.left @ found.right).to(slot.experts.dtype), Treatment("iso", num_cut=found.num_cut)
