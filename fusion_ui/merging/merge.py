"""The only loop over parameters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from fusion_ui.errors import MergeError
from fusion_ui.merging.slots import SlotSource, is_finite
from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.progress import Progress
from fusion_ui.solving.treatment import Treatment


@dataclass(frozen=True, eq=False)
class MergedModel:
    """Merged weights, at least float32, as the checkpoint stores them, and what was done to each.

    Attributes:
        tensors: parameter name -> merged tensor.
        treatments: parameter name -> what was done.
        seconds: wall time of the merge, preparation not included.
    """

    tensors: Mapping[str, Tensor]
    treatments: Mapping[str, Treatment]
    seconds: float

    def describe(self) -> dict[str, Any]:
        """The merge report as JSON values."""
        paths = Counter(treatment.path for treatment in self.treatments.values())
        parameters = {name: asdict(treatment) for name, treatment in self.treatments.items()}
        return {"seconds": round(self.seconds, 3), "paths": dict(paths), "parameters": parameters}


def merge_once(source: SlotSource, method: MergeMethod, progress: Progress | None = None) -> MergedModel:
    """Merge under one setting, one parameter in memory at a time."""
    progress = progress or Progress()
    started = time.perf_counter()
    tensors, treatments = _constants(source)
    names = source.names
    for done, slot in enumerate(source.slots()):
        progress.report(done / len(names), f"Merging, {done} of {len(names)} tensors")
        with progress.turn():
            tensors[slot.name], treatments[slot.name] = _store(source, slot.name, method.merge_parameter(slot))
    return MergedModel(tensors, treatments, time.perf_counter() - started)


class PreparedMerge:
    """Everything of a merge that the method's hyper-parameters do not change, so that a new value is cheap."""

    def __init__(self, source: SlotSource, kind: type[MergeMethod], progress: Progress | None = None) -> None:
        progress = progress or Progress()
        self.source, self.kind = source, kind
        self._constants = _constants(source)
        self._finish: dict[str, Callable[[Any], Merged]] = {}
        names = source.names
        for done, slot in enumerate(source.slots()):
            progress.report(done / len(names), f"Factorising, {done} of {len(names)} tensors")
            with progress.turn():
                self._finish[slot.name] = kind.prepare_parameter(slot)

    def merge(self, method: MergeMethod, progress: Progress | None = None) -> MergedModel:
        """The merge under `method`, which is of the kind that was prepared; ends at the next tensor when stopped."""
        progress = progress or Progress()
        started = time.perf_counter()
        tensors, treatments = dict(self._constants[0]), dict(self._constants[1])
        for name, finish in self._finish.items():
            progress.check()
            tensors[name], treatments[name] = _store(self.source, name, finish(method))
        return MergedModel(tensors, treatments, time.perf_counter() - started)


def _constants(source: SlotSource) -> tuple[dict[str, Tensor], dict[str, Treatment]]:
    tensors = dict(source.constants())
    return tensors, dict.fromkeys(tensors, Treatment("copy", reason="whole numbers, the same in every expert"))


def _store(source: SlotSource, name: str, merged: Merged) -> Merged:
    tensor, treatment = merged
    # The mean of finite tensors is finite, and the largest tensors (embeddings) are means.
    if treatment.path != "mean" and not is_finite(tensor):
        raise MergeError(f"Merging {name} gave entries that are not finite numbers. Use a smaller alpha or more text.")
    return tensor.mT if source.is_transposed(name) else tensor, treatment
