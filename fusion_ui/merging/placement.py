"""Slots on their way to where normal equations are solved, and merges on their way home."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from fusion_ui.devices import find_device
from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving.normal_equations import NormalEquations

LOGGER = logging.getLogger("fusion_ui")
NO_ROOM = "solved on the CPU, for the GPU has no room"


class Placement:
    """Where a method's equations are solved: on this process's device, where it factorises any, else on the CPU."""

    def __init__(self, kind: type[MergeMethod]) -> None:
        self._device = find_device() if kind.factorises else torch.device("cpu")
        self._here: NormalEquations | None = None
        self._there: NormalEquations | None = None

    def merge(self, slot: ParameterSlot, work: Callable[[ParameterSlot], Merged]) -> Merged:
        """What `work` makes of the slot, on the CPU."""
        try:
            tensor, treatment = work(self._place(slot))
            return tensor.cpu(), treatment
        except torch.OutOfMemoryError:
            tensor, treatment = work(self._give_up(slot))
            return tensor, replace(treatment, reason=treatment.reason or NO_ROOM)

    def prepare(
        self, slot: ParameterSlot, work: Callable[[ParameterSlot], Callable[[MergeMethod], Merged]]
    ) -> Callable[[MergeMethod], Merged]:
        """What `work` prepares, which lies on the CPU by itself."""
        try:
            return work(self._place(slot))
        except torch.OutOfMemoryError:
            finish = work(self._give_up(slot))

        def noted(method: MergeMethod) -> Merged:
            tensor, treatment = finish(method)
            return tensor, replace(treatment, reason=treatment.reason or NO_ROOM)

        return noted

    def _place(self, slot: ParameterSlot) -> ParameterSlot:
        if slot.equations is None or self._device.type == "cpu":
            return slot
        if slot.equations is not self._here:  # query, key and value share one, and so what is factorised
            self._there = None  # before the next is there: two would take twice the room
            grams = tuple(gram.to(self._device) for gram in slot.equations.grams)
            self._here, self._there = slot.equations, replace(slot.equations, grams=grams)
        return replace(slot, experts=self._move(slot.experts), equations=self._there)

    def _move(self, experts: Tensor) -> Tensor:
        if experts.stride(0) == 0:  # the same in every expert, which stays one copy
            return experts[0].to(self._device).expand_as(experts)
        return experts.to(self._device)

    def _give_up(self, slot: ParameterSlot) -> ParameterSlot:
        LOGGER.warning("the GPU has no room for the equations of %s, which are solved on the CPU", slot.name)
        self._here = self._there = None
        return slot
