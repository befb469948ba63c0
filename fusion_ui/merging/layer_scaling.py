"""LiNeS: after any method, keep more of the update the deeper a layer lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.merging.layers import count_layers, depth_of
from fusion_ui.parameters import Range, check_values

TITLE = "Layer scaling"


@dataclass(frozen=True)
class LayerScaling:
    """Scale a merge's difference from the base, growing linearly with depth (Wang et al., LiNeS, 2410.17146).

    theta_0 + s(l) (theta - theta_0), where s(l) goes from `shallow` at the first layer to `deep` at the last (the
    paper's alpha and alpha + beta). Embeddings count as the first layer, everything after the last
    layer counts as the last. With both at 1 nothing changes, to the bit.
    """

    shallow: Annotated[
        float,
        Range(
            0,
            2,
            step=0.05,
            label="First layer",
            help="How much of the update the embeddings and the first layer keep.",
            minimum_label="base model",
        ),
    ] = 0.5
    deep: Annotated[
        float,
        Range(
            0,
            2,
            step=0.05,
            label="Last layer",
            help="How much of the update the last layer and the head keep.",
            minimum_label="base model",
        ),
    ] = 1.0

    def __post_init__(self) -> None:
        check_values(type(self), TITLE, asdict(self))

    def describe(self) -> str:
        """For a legend and a model card: "LiNeS 0.5 to 1"."""
        return f"LiNeS {self.shallow:g} to {self.deep:g}"

    @staticmethod
    def find_obstacle(names: Sequence[str], has_base: bool) -> str:
        """Why a model with these parameters cannot be scaled by layer; empty if it can."""
        if not has_base:
            return f"{TITLE} needs the base model that the experts were fine-tuned from. Name it as the base."
        if count_layers(names) == 0:
            return f"{TITLE} cannot tell this architecture's layers by their names. Merge without it."
        return ""

    def factors(self, names: Sequence[str]) -> dict[str, float]:
        """s(l) for every parameter of a model."""
        num_layers = count_layers(names)
        return {name: self.shallow + depth_of(name, num_layers) * (self.deep - self.shallow) for name in names}


def scale_update(merged: Float[Tensor, "*shape"], base: Float[Tensor, "*shape"], factor: float) -> Tensor:
    """theta_0 + factor (theta - theta_0); `merged` itself where the factor is 1."""
    return merged if factor == 1 else torch.lerp(base.to(merged.dtype), merged, factor)
