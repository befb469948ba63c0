"""One slot a parameter: the experts' tensors with what was measured about them, linear weights as (out, in)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from fusion_ui.checkpoints.base import match_base
from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.compatibility import check_mergeable, read_header
from fusion_ui.checkpoints.layouts import is_linear_weight, is_stored_transposed
from fusion_ui.errors import MergeError, StatisticError
from fusion_ui.merging.finiteness import check_finite, check_tensor, is_finite
from fusion_ui.merging.labels import Heads, LabelSpace
from fusion_ui.merging.seeds import ExpertSeeds
from fusion_ui.merging.tied import TIED, find_copies, is_output_table
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving.normal_equations import NormalEquations
from fusion_ui.statistics.sharing import check_belongs
from fusion_ui.statistics.statistic import Statistic, StatisticKind

Statistics = Mapping[StatisticKind, Sequence[Statistic]]

STORED_GRAM_ROUNDING = torch.finfo(torch.float32).eps
"""Grams are stored in float32; what lies below this, relative, is not information."""
NOT_LINEAR = "not the weight of a linear layer"
"""Why a bias or an embedding has no normal equations."""


class SlotSource:
    """The experts of a merge, their coefficients and their statistics, presented slot by slot."""

    def __init__(
        self,
        experts: Sequence[Checkpoint],
        weights: Sequence[float],
        statistics: Statistics,
        base: Checkpoint | None = None,
        seed: int = 0,
        labels: LabelSpace | None = None,
        with_bias: bool = False,
    ) -> None:
        """Check that all belongs together.

        Args:
            with_bias: a linear layer's bias is the last column of its weight's slot, where Grams were measured for it.
                They must have input sums.

        Raises:
            CheckpointError: the experts' tensors differ in names or shapes.
            StatisticError: a statistic was measured on another checkpoint.
        """
        self._labels = labels
        self._apart = labels.parameters if labels and labels.heads is not Heads.SHARED else frozenset[str]()
        headers = [read_header(model) for model in experts]
        check_mergeable(headers, self._apart)
        self._base_names = match_base(read_header(base), headers[0]) if base else {}
        for kind, measured in statistics.items():
            for expert, statistic in zip(experts, measured, strict=True):
                check_belongs(expert, statistic, kind)
        self.experts, self.weights, self.base, self.seed = tuple(experts), tuple(weights), base, seed
        self.statistics = {kind: tuple(measured) for kind, measured in statistics.items()}
        grams = self.statistics.get(StatisticKind.GRAM)
        self._inputs = grams[0].inputs if grams else {}
        for expert, statistic in zip(experts, grams, strict=True) if grams else ():
            if {n: e.tensor for n, e in statistic.inputs.items()} != {n: e.tensor for n, e in self._inputs.items()}:
                raise StatisticError(
                    f"The statistics of {experts[0].name} and {expert.name} cover different layers. "
                    "Measure both again with the same version of `fusion-ui stats`."
                )
        fishers = self.statistics.get(StatisticKind.FISHER, ())
        self._copies = find_copies(experts)
        tensors = self.experts[0].tensors
        self._bias_of = self._find_biases(tensors.names) if with_bias else {}
        self._constant_names = [name for name in tensors.names if not tensors.is_floating_point(name)]
        self._fisher_norms = tuple(_norm(fisher) for fisher in fishers)

    @property
    def names(self) -> list[str]:
        """All floating-point parameters that are merged, those that share a Gram side by side.

        A bias that is merged with its weight is not among them.
        """
        left_out = {*self._constant_names, *self._apart, *self._bias_of.values()}
        left_out |= {copy for copies in self._copies.values() for copy in copies}
        names = [name for name in self.experts[0].tensors.names if name not in left_out]
        return sorted(names, key=lambda name: (self._gram_key(name) or name, name in self._bias_of, name))

    def is_transposed(self, name: str) -> bool:
        """True where the checkpoint stores a linear weight as (in, out)."""
        if not self._inputs:
            return is_stored_transposed(name, self.experts[0].config)
        return name in self._inputs and self._inputs[name].is_transposed

    def is_linear(self, name: str) -> bool:
        """True for the weight of a linear map, as statistics saw the modules, or else as names have it."""
        return name in self._inputs if self._inputs else is_linear_weight(name, self.experts[0].tensors.shape(name))

    def read(self, name: str) -> Tensor:
        """A floating-point parameter of every expert, stacked, at least float32, a linear weight as (out, in).

        A weight that is merged with its bias is (out, in + 1).

        Raises:
            MergeError: an expert's tensor has NaN or infinite entries.
        """
        if name in self._bias_of:
            return torch.cat([self._read_stacked(name), self._read_stacked(self._bias_of[name])[..., None]], -1)
        return self._read_stacked(name)

    def unpack(self, name: str, merged: Tensor) -> dict[str, Tensor]:
        """What was merged in the slot `name` as the checkpoint stores it: one tensor, or a weight and its bias."""
        if name not in self._bias_of:
            stored = merged.mT if self.is_transposed(name) else merged
            return dict.fromkeys((name, *self._copies.get(name, ())), stored)
        weight = merged[:, :-1]
        return {name: weight.mT if self.is_transposed(name) else weight, self._bias_of[name]: merged[:, -1]}

    def pack(self, name: str, stored: Mapping[str, Tensor]) -> Tensor:
        """The inverse of `unpack`: what the slot `name` was merged to, from the tensors of the whole merge."""
        weight = stored[name].mT if self.is_transposed(name) else stored[name]
        return torch.cat([weight, stored[self._bias_of[name]][:, None]], -1) if name in self._bias_of else weight

    def keep(self, name: str, tensor: Tensor) -> None:
        """Be told of a merged tensor, as the checkpoint stores it, before the next slot is asked for."""

    def _read_stacked(self, name: str) -> Tensor:
        tensors = [self._read(i, name) for i in range(len(self.experts))]
        dtype = torch.promote_types(tensors[0].dtype, torch.float32)
        for expert, tensor in zip(self.experts, tensors, strict=True):
            check_tensor(expert, name, tensor)
        if all(torch.equal(tensors[0], tensor) for tensor in tensors[1:]):
            # Frozen in every expert's training, as embeddings often are: one copy stands for all.
            stacked = tensors[0].to(dtype).expand(len(tensors), *tensors[0].shape)
        else:
            stacked = torch.stack([tensor.to(dtype) for tensor in tensors])
        return stacked.mT if self.is_transposed(name) else stacked

    def read_base(self, name: str) -> Tensor | None:
        """A floating-point parameter of the base, as `read` gives the experts'; None where there is none.

        A head counts only where the base knows the very labels of the merge: rows of other labels are no start that
        the experts share.

        Raises:
            MergeError: the tensor has NaN or infinite entries.
        """
        weight = self._read_base(name)
        if weight is None or name not in self._bias_of:
            return weight
        bias = self._read_base(self._bias_of[name])
        return None if bias is None else torch.cat([weight, bias[:, None].to(weight.dtype)], -1)

    def _read_base(self, name: str) -> Tensor | None:
        if self.base is None or name not in self._base_names:
            return None
        tensor = self.base.tensors.read(self._base_names[name])
        check_tensor(self.base, name, tensor)
        if self._labels and name in self._labels.parameters:
            rows = {label.casefold(): row for row, label in enumerate(self.base.label_names)}
            order = [rows.get(label.casefold()) for label in self._labels.names]
            if None in order or len(order) != len(rows):
                return None
            tensor = tensor[order]
        tensor = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
        return tensor.mT if self.is_transposed(name) else tensor

    def check_apart(self) -> None:
        """Look at the heads that are no slots of the merge: those that experts keep, and parts of a union.

        Raises:
            MergeError: an expert's tensor has NaN or infinite entries.
        """
        check_finite(self.experts, self._apart)

    def constants(self) -> Iterator[tuple[str, Tensor]]:
        """Tensors of whole numbers, such as position indices: the same in every expert, so there is nothing to merge.

        Raises:
            MergeError: two experts have different ones.
        """
        for name in self._constant_names:
            first, *others = [expert.tensors.read(name) for expert in self.experts]
            for expert, tensor in zip(self.experts[1:], others, strict=True):
                if not torch.equal(first, tensor):
                    raise MergeError(
                        f"{self.experts[0].name} and {expert.name} cannot be merged: {name} holds whole numbers, which "
                        "have no mean, and they differ. Choose experts fine-tuned from the same base."
                    )
            yield name, first

    def union_head(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors of a head that knows the labels of all experts, where the recipe asks for one."""
        if self._labels is None or self._labels.heads is not Heads.UNION:
            return
        for name in sorted(self._labels.parameters):
            tensors = [expert.tensors.read(name) for expert in self.experts]
            yield name, self._labels.average_rows(tensors, self.weights)

    def slots(self, names: Sequence[str] | None = None) -> Iterator[ParameterSlot]:
        """A slot for each parameter. Those that share a Gram share one `NormalEquations`."""
        key: tuple[str | None, bool] = None, False
        equations: NormalEquations | None = None
        for name in self.names if names is None else names:
            if (self._gram_key(name), name in self._bias_of) != key:
                key = self._gram_key(name), name in self._bias_of
                equations = self._equations(name, key[0]) if key[0] else None
            yield ParameterSlot(
                name=name,
                experts=self.read(name),
                weights=self.weights,
                base=self.read_base(name),
                is_linear=self.is_linear(name),
                equations=equations,
                equations_missing=self._missing(name),
                token_frequencies=self._token_frequencies(name),
                fishers=self._fishers(name),
                fisher_norms=self._fisher_norms,
                seeds=ExpertSeeds(self.seed, name, self.experts),
                stored_as=self._stored_as(name),
            )

    def _read(self, expert: int, name: str) -> Tensor:
        tensor = self.experts[expert].tensors.read(name)
        return self._labels.reorder(name, expert, tensor) if self._labels else tensor

    def _stored_as(self, name: str) -> torch.dtype:
        """The coarsest type in which an expert or the base stores a parameter, or the bias that goes with it."""
        names = [name, self._bias_of[name]] if name in self._bias_of else [name]
        types = [expert.tensors.header(each).dtype for expert in self.experts for each in names]
        if self.base is not None:
            known = [self._base_names[each] for each in names if each in self._base_names]
            types += [self.base.tensors.header(each).dtype for each in known]
        return max(types, key=lambda dtype: torch.finfo(dtype).eps)

    def _find_biases(self, names: Sequence[str]) -> dict[str, str]:
        """Weight of a linear layer with Grams -> its bias."""
        biases = {name: name.removesuffix("weight") + "bias" for name in self._inputs if self._gram_key(name)}
        return {name: bias for name, bias in biases.items() if bias in names and name not in self._apart}

    def _gram_key(self, name: str) -> str | None:
        return self._inputs[name].tensor or None if name in self._inputs else None

    def _equations(self, name: str, key: str) -> NormalEquations:
        measured = self.statistics[StatisticKind.GRAM]
        grams = tuple(statistic.tensors[key] for statistic in measured)
        if name not in self._bias_of:  # the inputs alone, also where their sums were measured
            sums = (statistic.settings.input_sums for statistic in measured)
            grams = tuple(g[:-1, :-1] if has_sums else g for g, has_sums in zip(grams, sums, strict=True))
        for expert, gram in zip(self.experts, grams, strict=True):
            if not is_finite(gram):
                raise StatisticError(
                    f"The statistics of {expert.name} have entries for {name} that are not finite numbers. "
                    "Measure them again with `fusion-ui stats`."
                )
        return NormalEquations(
            grams=grams,
            num_rows=tuple(statistic.inputs[name].num_rows for statistic in measured),
            weights=self.weights,
            rounding=STORED_GRAM_ROUNDING,
        )

    def _missing(self, name: str) -> str:
        if name in self._inputs:
            return self._inputs[name].reason
        if is_output_table(self.experts[0], name, self._copies):
            return TIED
        return NOT_LINEAR if StatisticKind.GRAM in self.statistics else "no Gram matrices"

    def _token_frequencies(self, name: str) -> Tensor | None:
        measured = self.statistics.get(StatisticKind.GRAM, ())
        if not measured or any(name not in statistic.token_counts for statistic in measured):
            return None
        counts = torch.stack([statistic.token_counts[name].double() for statistic in measured])
        return counts / counts.sum(1, keepdim=True)

    def _fishers(self, name: str) -> Tensor | None:
        fishers = self.statistics.get(StatisticKind.FISHER, ())
        if not fishers or any(name not in fisher.tensors for fisher in fishers):
            return None
        found = [fisher.tensors[name] for fisher in fishers]
        if self._labels:
            found = [self._labels.reorder(name, i, fisher) for i, fisher in enumerate(found)]
        stacked = torch.stack(found)
        return stacked.mT if self.is_transposed(name) else stacked


def _norm(fisher: Statistic) -> float:
    return sum(fisher.tensors[name].double().square().sum().item() for name in fisher.tensors) ** 0.5
