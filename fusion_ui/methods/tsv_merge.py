"""TSV-Merge: the strongest directions of every task, kept from interfering with each other."""

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
from fusion_ui.solving.spectrum import NOTHING_LEFT, decompose, nearest_orthonormal, rounding_floor
from fusion_ui.solving.treatment import Treatment


@dataclass(frozen=True)
class TsvMerge(MergeMethod):
    """Keep each task's strongest singular vectors and turn them apart, to right angles (Gargiulo et al., 2025).

    T experts keep a T-th of the rank each, so that all of them together fit into the matrix. An expert with weight 0
    takes no place. As in the paper's code, parameters that are no matrices get the mean task vector; so do tables of
    embeddings, whose rows are words and no map, and matrices with fewer rows or columns than there are experts.
    """

    name: ClassVar = "tsv_merge"
    title: ClassVar = "TSV-Merge"
    paper: ClassVar = "https://arxiv.org/abs/2412.00081"
    formula: ClassVar = (
        "W = W_0 + lambda U~ diag(c_i S_i) V~^T,  U~, V~ orthonormal, nearest to [U_1 .. U_T], [V_1 .. V_T]"
    )
    needs_base: ClassVar = True
    keeps_identical: ClassVar = False
    color: ClassVar = "#7536ea"

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
    def prepare_parameter(cls, slot: ParameterSlot, settings: Sequence[TsvMerge] = ()) -> Callable[[TsvMerge], Merged]:
        assert slot.base is not None  # see `needs_base`
        base, (update, treatment) = slot.base, _merge_updates(slot, slot.base)
        return lambda method: (base + method.scaling_coefficient * update, treatment)


def _merge_updates(slot: ParameterSlot, base: Float[Tensor, "..."]) -> tuple[Float[Tensor, "..."], Treatment]:
    tasks = [(c, expert) for c, expert in zip(slot.coefficients, slot.experts, strict=True) if c > 0]
    reason = "" if slot.is_linear else "not the weight of a linear layer"
    rank = 0 if reason else min(slot.mean.shape) // len(tasks)
    if rank == 0:
        reason = reason or "fewer rows or columns than experts"
        return slot.mean - base, Treatment("mean task vector", reason=reason)
    floors = [rounding_floor(expert, slot.stored_eps) for _, expert in tasks]
    found = [decompose(expert.double() - base, floor, rank) for (_, expert), floor in zip(tasks, floors, strict=True)]
    if all(len(task.values) == 0 for task in found):
        num_cut = sum(task.num_cut for task in found)
        return torch.zeros_like(slot.mean), Treatment("base", num_cut=num_cut, reason=NOTHING_LEFT)
    left, num_shared = nearest_orthonormal(torch.cat([task.left for task in found], 1))
    right, _ = nearest_orthonormal(torch.cat([task.right for task in found]).mT)
    values = torch.cat([c * task.values for (c, _), task in zip(tasks, found, strict=True)])
    num_cut = sum(task.num_cut for task in found) + num_shared
    return (left * values @ right.mT).to(slot.experts.dtype), Treatment("tsv", num_cut=num_cut)
