"""Threads that compute at the same time, each on batches of its own.

On a CPU that is faster than all cores sharing one batch: a model of a laptop's size has many small steps, before and
after each of which cores that share it wait for each other.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from types import TracebackType

import torch
from torch import Tensor, nn

from fusion_ui.devices import device_of
from fusion_ui.domains.batches import Batch

MAX_WORKERS = 2
"""Each has sums of its own, as large as all Gram matrices together."""


def find_num_workers(model: nn.Module) -> int:
    """How many threads should compute with a model: one on a GPU."""
    return min(MAX_WORKERS, torch.get_num_threads()) if _is_plain(model) else 1


def share_weights(model: nn.Module, count: int) -> list[nn.Module]:
    """Models with the parameters and buffers of `model`, but hooks of their own, and linear layers that one thread
    computes faster; the model itself where it lies on a GPU.
    """
    if not _is_plain(model):
        return [model] * count
    kept = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    models = [copy.deepcopy(model, dict(kept)) for _ in range(count)]
    for module in (module for each in models for module in each.modules()):
        if type(module) is nn.Linear and module.weight.dtype == torch.float32 and torch.backends.mkldnn.is_available():
            # The same product in float32 as torch's own choice of library gives, a tenth faster on small batches.
            bias = None if module.bias is None else module.bias.detach()
            module.forward = partial(_linear, weight=module.weight.detach(), bias=bias)
    return models


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")


def _is_plain(model: nn.Module) -> bool:
    """False on a GPU, and where `compute_on` stands before the model: copies would all call the first."""
    return device_of(model).type == "cpu" and "forward" not in vars(model)


def share_out(batches: Sequence[Batch], count: int) -> list[list[Batch]]:
    """Batches for each of some threads, with about as many tokens, and the same ones every time."""
    shares, loads = [list[Batch]() for _ in range(count)], [0] * count
    for batch in batches:
        least = loads.index(min(loads))
        shares[least].append(batch)
        loads[least] += batch.input_ids.numel()
    return shares


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
