"""What a merge method sees: one parameter of every expert, and what was measured about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.solving.normal_equations import NormalEquations


@dataclass(frozen=True, eq=False)
class ParameterSlot:
    """One parameter under every expert. Linear weights are always (out, in), whatever the module stores.

    Where biases are merged with their weights, a weight has its bias as one more input, the last, that is always 1.

    Attributes:
        name: the parameter's name in the checkpoint.
        experts: the parameter of every expert, stacked; floating point, at least float32.
        weights: coefficients c_i, summing to one.
        base: the parameter of the base model, where one was given.
        is_linear: it is the weight of a linear map, and not a bias, a norm or a table of embeddings.
        equations: for a linear weight with Gram matrices, RegMean's normal equations.
        equations_missing: why there are none.
        token_frequencies: for a word embedding with token counts, the share of each row among all tokens of every
            expert's text, n_iv / N_i.
        fishers: the Fisher information of every expert, same shape as `experts`.
        fisher_norms: the norm of each expert's Fisher information over all its parameters.
        seeds: one for each expert, for methods that draw random numbers. Made from the recipe's seed, the parameter's
            name and the expert's weights, so that the order of the experts does not matter.
        stored_as: the coarsest type in which an expert or the base stores the parameter; None where that is the type
            of `experts`.
    """

    name: str
    experts: Float[Tensor, "expert ..."]
    weights: tuple[float, ...]
    base: Float[Tensor, "..."] | None = None
    is_linear: bool = False
    equations: NormalEquations | None = None
    equations_missing: str = ""
    token_frequencies: Float[Tensor, "expert row"] | None = None
    fishers: Float[Tensor, "expert ..."] | None = None
    fisher_norms: tuple[float, ...] = ()
    seeds: Sequence[int] = ()
    stored_as: torch.dtype | None = None

    @property
    def stored_eps(self) -> float:
        """The relative rounding of the stored entries: a half-precision one is not undone by reading it as float32."""
        return torch.finfo(self.stored_as or self.experts.dtype).eps

    @cached_property
    def mean(self) -> Float[Tensor, "..."]:
        """sum_i c_i theta_i; the parameter itself where every expert has the same (stacked without a copy)."""
        if self.experts.stride(0) == 0:
            return self.experts[0]
        weights = torch.tensor(self.weights, dtype=self.experts.dtype, device=self.experts.device)
        return torch.tensordot(weights, self.experts, dims=1)

    @property
    def deltas(self) -> Float[Tensor, "expert ..."]:
        """theta_i minus the mean."""
        return self.experts - self.mean

    @property
    def task_vectors(self) -> Float[Tensor, "expert ..."]:
        """tau_i = theta_i - theta_0.

        Raises:
            ValueError: there is no base; `MergeMethod.needs_base` sees to that before anything is merged.
        """
        return self.experts - self._known_base

    def task_vector(self, expert: int) -> Float[Tensor, "..."]:
        """tau_i of one expert, where not all need be in memory at once; raises as `task_vectors`."""
        return self.experts[expert] - self._known_base

    def add_to_base(self, update: Float[Tensor, "..."], scaling: float) -> Float[Tensor, "..."]:
        """theta_0 + lambda update; raises as `task_vectors`."""
        return torch.add(self._known_base, update, alpha=scaling)

    @property
    def _known_base(self) -> Float[Tensor, "..."]:
        if self.base is None:
            raise ValueError(f"{self.name} has no base to take task vectors from")
        return self.base

    @property
    def coefficients(self) -> tuple[float, ...]:
        """The weights scaled so that equal ones are all 1, as methods that add up task vectors count them."""
        return tuple(weight * len(self.weights) for weight in self.weights)

    def generator(self, expert: int) -> torch.Generator:
        """Random numbers for one expert's entries of this parameter: the same for the same recipe."""
        return torch.Generator().manual_seed(self.seeds[expert])
