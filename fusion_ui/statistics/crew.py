"""Threads that compute at the same time, each on batches of its own.

On a CPU that is faster than all cores sharing one batch: a model of a laptop's size has many small steps, before and
after each of which cores that share it wait for each other.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType

import torch
from torch import nn

from fusion_ui.devices import device_of
from fusion_ui.statistics.symmetric_products import set_num_threads

MAX_WORKERS = 2
"""Each has sums of its own, as large as all Gram matrices together."""


def find_num_workers(model: nn.Module) -> int:
    """How many threads should compute with a model.

    One on a GPU, and one where `compute_on` stands before the model: its copies would all call the first.
    """
    is_plain = device_of(model).type == "cpu" and "forward" not in vars(model)
    return min(MAX_WORKERS, torch.get_num_threads()) if is_plain else 1


def share_weights(model: nn.Module, count: int) -> list[nn.Module]:
    """The model and further ones with the same parameters and buffers, but hooks of their own."""
    kept = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    return [model, *(copy.deepcopy(model, dict(kept)) for _ in range(count - 1))]


class Crew:
    """Some threads with equal shares of this thread's cores, for a with block. A crew of one is the caller itself."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pool = ThreadPoolExecutor(size, "crew") if size > 1 else None

    def __enter__(self) -> Crew:
        if self._pool is not None:
            whole, ready = torch.get_num_threads(), threading.Barrier(self.size)
            share = max(1, whole // self.size)

            def take_share() -> None:
                torch.set_num_threads(share)
                ready.wait()

            set_num_threads(share)
            wait([self._pool.submit(take_share) for _ in range(self.size)])
            torch.set_num_threads(whole)  # what was set last is what every new thread begins with
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, tasks: Sequence[Callable[[], object]]) -> None:
        """Carry out tasks and wait for all; the first error of any is raised."""
        if self._pool is None:
            for task in tasks:
                task()
            return
        futures = [self._pool.submit(task) for task in tasks]
        wait(futures)
        for future in futures:
            future.result()


ALONE = Crew(1)
