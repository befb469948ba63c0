"""The only loops over parameters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from fusion_ui.checkpoints.tensors import StoreTensor
from fusion_ui.errors import MergeError
from fusion_ui.merging.finiteness import is_finite
from fusion_ui.merging.layer_scaling import LayerScaling, scale_update
from fusion_ui.merging.placement import Placement
from fusion_ui.merging.rules import NO_RULES, ParameterRules
from fusion_ui.merging.slots import SlotSource
from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.progress import Progress
from fusion_ui.solving.treatment import Treatment


@dataclass(frozen=True, eq=False)
class MergedModel:
    """Merged weights, in the checkpoint's layout, and what was done to each.

    Attributes:
        tensors: parameter name -> merged tensor; at least float32 in memory, read when asked for where it was exported.
        treatments: parameter name -> what was done.
        seconds: wall time of the merge, preparation not included, the writing of an export included.
    """

    tensors: Mapping[str, Tensor]
    treatments: Mapping[str, Treatment]
    seconds: float

    def describe(self) -> dict[str, Any]:
        """The merge report as JSON values."""
        paths = Counter(treatment.path for treatment in self.treatments.values())
        parameters = {name: asdict(treatment) for name, treatment in self.treatments.items()}
        return {"seconds": round(self.seconds, 3), "paths": dict(paths), "parameters": parameters}


def merge_once(
    source: SlotSource,
    method: MergeMethod,
    progress: Progress | None = None,
    rules: ParameterRules = NO_RULES,
    layer_scaling: LayerScaling | None = None,
) -> MergedModel:
    """Merge under one setting and keep the result in memory, but of the experts one parameter at a time."""
    started = time.perf_counter()
    tensors: dict[str, Tensor] = {}
    treatments = merge_each(source, method, tensors.__setitem__, progress, rules, layer_scaling)
    return MergedModel(tensors, treatments, time.perf_counter() - started)


def merge_each(
    source: SlotSource,
    method: MergeMethod,
    store: StoreTensor,
    progress: Progress | None = None,
    rules: ParameterRules = NO_RULES,
    layer_scaling: LayerScaling | None = None,
) -> dict[str, Treatment]:
    """Merge under one setting, handing each tensor to `store` and forgetting it. Returns what was done to each.

    Args:
        layer_scaling: the step after the method, where the recipe has one; the source then has a base.

    Raises:
        MergeError: an expert or the merge has entries that are not finite numbers.
    """
    progress = progress or Progress()
    fixed, treatments = _fixed(source)
    for name, tensor in fixed.items():
        store(name, tensor)
    total, factors = len(source.experts[0].tensors.names), _factors(source, layer_scaling)
    placement = Placement(type(method))
    for slot in source.slots():  # not in enumerate(), which would hold on to the slot before
        done = len(treatments)
        progress.report(done / total, f"Merging, {done} of {total} tensors")
        rule = rules.find(slot.name)
        with progress.turn():
            if rule.is_kept:
                merged = rules.keep(rule, slot)
            else:
                merged = rule.note(_merge_slot(rule.adapt(method), slot, placement))
                merged = _scale(source, slot.name, merged, factors)
            for name, (tensor, treatment) in _as_stored(source, slot.name, merged).items():
                store(name, tensor)
                source.keep(name, tensor)
                treatments[name] = treatment
        del slot, merged, tensor  # before the next is read: an embedding of every expert can be most of the memory
    return treatments


class PreparedMerge:
    """Everything of a merge that the method's hyper-parameters do not change, so that a new value is cheap."""

    def __init__(
        self,
        source: SlotSource,
        kind: type[MergeMethod],
        progress: Progress | None = None,
        settings: Sequence[MergeMethod] = (),
        rules: ParameterRules = NO_RULES,
    ) -> None:
        """Do the costly work.

        Args:
            settings: the only ones that `merge` will be asked for, under `rules`; any, where none is named.
        """
        progress = progress or Progress()
        self.source, self.kind = source, kind
        self._fixed = _fixed(source)
        self._kept: dict[tuple[object, ...], Merged] = {}
        self._finish: dict[str, Callable[[Any], Merged]] = {}
        total, placement = len(source.names), Placement(kind)
        for slot in source.slots():
            done = len(self._finish)
            progress.report(done / total, f"Factorising, {done} of {total} tensors")
            with progress.turn():
                rule = rules.find(slot.name)
                self._finish[slot.name] = _prepare_slot(
                    kind, slot, [rule.adapt(method) for method in settings], placement
                )
            del slot

    def merge(
        self,
        method: MergeMethod,
        progress: Progress | None = None,
        rules: ParameterRules = NO_RULES,
        layer_scaling: LayerScaling | None = None,
    ) -> MergedModel:
        """The merge under `method`, which is of the kind that was prepared; ends at the next tensor when stopped."""
        progress = progress or Progress()
        started = time.perf_counter()
        tensors, treatments = dict(self._fixed[0]), dict(self._fixed[1])
        factors = _factors(self.source, layer_scaling)
        kept: dict[tuple[object, ...], Merged] = {}
        for name, finish in self._finish.items():
            progress.check()
            rule = rules.find(name)
            if rule.is_kept:
                key = (name, rule.parameters, rule.merge, rules.experts)
                merged = kept[key] = self._kept.get(key) or rules.keep(rule, next(self.source.slots([name])))
            else:
                merged = _scale(self.source, name, rule.note(finish(rule.adapt(method))), factors)
            for stored, (tensor, treatment) in _as_stored(self.source, name, merged).items():
                tensors[stored], treatments[stored] = tensor, treatment
        self._kept = kept  # for the next value of a parameter; what only older rules kept is let go
        return MergedModel(tensors, treatments, time.perf_counter() - started)


def _fixed(source: SlotSource) -> tuple[dict[str, Tensor], dict[str, Treatment]]:
    """The tensors that no method decides: whole numbers, and the rows of a head that knows several label sets."""
    source.check_apart()  # now, and not when a text is answered with such a head
    constants, head = dict(source.constants()), dict(source.union_head())
    treatments = dict.fromkeys(constants, Treatment("copy", reason="whole numbers, the same in every expert"))
    treatments |= dict.fromkeys(head, Treatment("mean", reason="each label's row over the experts that know the label"))
    return constants | head, treatments


def _merge_slot(method: MergeMethod, slot: ParameterSlot, placement: Placement) -> Merged:
    if method.needs_base and slot.base is None:
        return _without_base(slot)
    return placement.merge(slot, method.merge_parameter)


def _prepare_slot(
    kind: type[MergeMethod], slot: ParameterSlot, settings: Sequence[MergeMethod], placement: Placement
) -> Callable[[Any], Merged]:
    if kind.needs_base and slot.base is None:
        mean = _without_base(slot)
        return lambda method: mean
    return placement.prepare(slot, lambda placed: kind.prepare_parameter(placed, settings))


def _without_base(slot: ParameterSlot) -> Merged:
    """The mean: a head that was added in fine-tuning has no difference from the base."""
    return slot.mean, Treatment("mean", reason="the base model has no such parameter")


def _factors(source: SlotSource, layer_scaling: LayerScaling | None) -> dict[str, float]:
    """Parameter name -> what layer scaling multiplies its difference from the base by; empty without that step."""
    return layer_scaling.factors(source.names) if layer_scaling else {}


def _scale(source: SlotSource, name: str, merged: Merged, factors: Mapping[str, float]) -> Merged:
    """The step after the method; what the base has not, and what a rule keeps, is left as it is."""
    if not factors or (base := source.read_base(name)) is None:
        return merged
    tensor, treatment = merged
    return scale_update(tensor, base, factors[name]), replace(treatment, layer_factor=factors[name])


def _as_stored(source: SlotSource, name: str, merged: Merged) -> dict[str, Merged]:
    """The tensors that one slot stands for, as the checkpoint stores them."""
    tensor, treatment = merged
    # The mean of finite tensors is finite, and the largest tensors (embeddings) are means.
    if (treatment.path != "mean" or treatment.layer_factor is not None) and not is_finite(tensor):
        raise MergeError(
            f"Merging {name} gave entries that are not finite numbers. Use a smaller alpha or scaling, or more text."
        )
    return {stored: (part, treatment) for stored, part in source.unpack(name, tensor).items()}
