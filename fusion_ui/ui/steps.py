"""Undo and redo over the states of the controls. A drag is one step, not a hundred."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fusion_ui.ui.request import FuseRequest

TOGETHER_SECONDS = 1.0
"""Changes that follow each other faster are one step."""
MAX_STEPS = 100


@dataclass(frozen=True)
class Steps:
    """States before and after the present one, the nearest last.

    Attributes:
        changed: when a control moved last, in seconds by any one clock.
    """

    past: tuple[FuseRequest, ...] = ()
    future: tuple[FuseRequest, ...] = ()
    changed: float = float("-inf")

    def record(self, present: FuseRequest, now: float) -> Steps:
        """The steps once `present` has given way to a newer state."""
        if now - self.changed < TOGETHER_SECONDS:
            return replace(self, future=(), changed=now)
        return Steps((*self.past, present)[-MAX_STEPS:], (), now)

    def undo(self, present: FuseRequest) -> tuple[Steps, FuseRequest] | None:
        """The steps and the state one step back; None at the beginning."""
        if not self.past:
            return None
        return Steps(self.past[:-1], (*self.future, present)), self.past[-1]

    def redo(self, present: FuseRequest) -> tuple[Steps, FuseRequest] | None:
        """The steps and the state one step forward; None at the end."""
        if not self.future:
            return None
        return Steps((*self.past, present), self.future[:-1]), self.future[-1]
