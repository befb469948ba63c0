"""What merges share under any value of a method's parameters, done once: ahead of being asked, or for some values."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fusion_ui.errors import StoppedError
from fusion_ui.execution import Recent, Turns
from fusion_ui.merging.merge import PreparedMerge
from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.slots import SlotSource
from fusion_ui.progress import Progress

LOGGER = logging.getLogger("fusion_ui")

MakeSource = Callable[[MergePlan, Progress, float], tuple[SlotSource, Progress]]
"""What a plan merges, measured with a share of the progress, and the progress left."""


class Preparations:
    """The preparations asked for last. Thread-safe."""

    def __init__(self, turns: Turns, make_source: MakeSource) -> None:
        self._turns, self._make_source = turns, make_source
        self._for_any: Recent[PreparedMerge] = Recent(2)
        self._for_some = dict[str, PreparedMerge]()
        self._background, self._begun = threading.Lock(), dict[str, Progress]()

    def find(self, plan: MergePlan) -> PreparedMerge | None:
        """One that makes the plan's merge cheap."""
        return self._for_any.peek(plan.family_key) or self._for_some.get(plan.key)

    def make(self, plan: MergePlan, progress: Progress) -> None:
        """Prepare for any value, unless that is done; what a method cannot prepare is left."""
        if not plan.method.can_prepare():
            return
        # Measuring holds a lock that somebody urgent may come to wait for: idle work must not wait for its turn there.
        progress = self._turns.promote(progress)

        def prepare() -> PreparedMerge:
            source, rest = self._make_source(plan, progress, 0.5)
            return PreparedMerge(source, type(plan.method), rest)

        self._for_any.get_or_make(plan.family_key, prepare)

    def start(self, plan: MergePlan) -> None:
        """Start `make` unless it is done or under way. It takes turns with what people wait for."""
        key, progress = plan.family_key, self._turns.urgent_progress()
        with self._background:
            if not plan.method.can_prepare() or key in self._begun or self._for_any.peek(key):
                return
            for older in self._begun.values():  # the latest experts and data win
                older.stop()
            self._begun[key] = progress

        def work() -> None:
            try:
                self.make(plan, progress)
            except StoppedError:
                LOGGER.info("a preparation gave way to a newer one")
            finally:
                with self._background:
                    self._begun.pop(key, None)

        threading.Thread(target=work, daemon=True).start()

    @contextmanager
    def made_for(self, plans: Sequence[MergePlan], progress: Progress) -> Iterator[None]:
        """Inside, the merges of `plans`, which differ in parameters alone, are cheap.

        Where nothing is prepared for any value, or about to be, the work is done for these values and let go after.
        """
        if not plans or not plans[0].method.can_prepare():
            yield
            return
        first = plans[0]
        if first.family_key in self._begun or self._for_any.peek(first.family_key):
            self.make(first, progress)
            yield
            return
        source, rest = self._make_source(first, self._turns.promote(progress), 0.5)
        methods = [plan.method for plan in plans]
        prepared = PreparedMerge(source, type(first.method), rest, methods, first.rules)
        keys = [plan.key for plan in plans]
        self._for_some |= dict.fromkeys(keys, prepared)
        try:
            yield
        finally:
            for key in keys:
                self._for_some.pop(key, None)
