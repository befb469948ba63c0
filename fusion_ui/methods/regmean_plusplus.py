"""RegMean++: RegMean in the order of the forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fusion_ui.methods.base import Merged, SequentialMethod
from fusion_ui.methods.regmean import ALPHA, match_outputs
from fusion_ui.methods.slot import ParameterSlot


@dataclass(frozen=True)
class RegMeanPlusPlus(SequentialMethod):
    """RegMean one layer after the other, on what the merged layers before give; not dataless (Nguyen et al., 2025).

    The input of transformer layer l is what the merged layers 1 to l - 1 make of expert i's text; inside layer l the
    expert's own weights run, so the inputs of its linear maps are f_i^(l)'s (section 3 of the paper and its published
    code). Embeddings come first, as means; pooler and head come last, as if they were one more layer.
    """

    name: ClassVar = "regmean_plusplus"
    title: ClassVar = "RegMean++"
    paper: ClassVar = "https://arxiv.org/abs/2508.03121"
    formula: ClassVar = "as RegMean, with G_i = X_i^T X_i of X_i^(l) = f_merged^(l-1)(X_i^(l-1)) in place of f_i^(l-1)"
    factorises: ClassVar = True
    color: ClassVar = "#485abd"

    alpha: Annotated[float, ALPHA] = 0.9

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        return match_outputs(slot, self.alpha)
