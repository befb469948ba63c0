"""A model in stages, in the order of its forward pass: what comes before its blocks, each block, what comes after.

A block is one transformer layer. The stages are read off one forward pass, so no architecture is known by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fusion_ui.domains.batches import Batch
from fusion_ui.errors import MergeError
from fusion_ui.statistics.gram import linear_modules
from fusion_ui.tasks.inputs import model_inputs


@dataclass(frozen=True, eq=False)
class Stages:
    """The blocks of a model in forward order, and the stage that each of its parameters belongs to.

    Stage 0 is what runs before the first block, stage k + 1 is block k with what runs between it and the block before,
    and the last stage is what runs after the last block. A parameter that no module of its own reads is of stage 0.

    Attributes:
        blocks: the blocks.
        stacks: for each block the module list that it is in; T5 has one for its encoder and one for its decoder.
        parameters: parameter name -> number of its stage.
    """

    blocks: tuple[nn.Module, ...]
    stacks: tuple[str, ...]
    parameters: Mapping[str, int]

    @property
    def count(self) -> int:
        """How many stages there are."""
        return len(self.blocks) + 2


def find_stages(model: nn.Module, batch: Batch) -> Stages:
    """The stages of a model.

    Args:
        batch: any text, to watch it pass through.

    Raises:
        MergeError: the model has no list of layers of which each runs once.
    """
    stack_of = {f"{stack}.{i}": stack for stack, size in _find_stacks(model).items() for i in range(size)}
    calls = _watch(model, batch)
    order, counts = list(dict.fromkeys(calls)), Counter(calls)
    blocks = [name for name in order if name in stack_of]
    start = f"{type(model).__name__} cannot be merged layer by layer: "
    if not blocks:
        raise MergeError(f"{start}it has no list of layers that run one after the other. Use RegMean.")
    if repeated := [name for name in blocks if counts[name] > 1]:
        raise MergeError(
            f"{start}it runs {repeated[0]} {counts[repeated[0]]} times for one text, so no layer comes before the "
            "others. Use RegMean."
        )
    stages = {}
    for name, _ in model.named_parameters():
        own = next((k for k, block in enumerate(blocks) if name.startswith(f"{block}.")), None)
        owner = name.rpartition(".")[0]
        before = order[: order.index(owner)] if owner in counts else []
        num_before = sum(block in before for block in blocks)
        stages[name] = own + 1 if own is not None else num_before + 1 if num_before else 0
    modules = dict(model.named_modules())
    return Stages(tuple(modules[name] for name in blocks), tuple(stack_of[name] for name in blocks), stages)


def _find_stacks(model: nn.Module) -> dict[str, int]:
    """Outermost module lists with linear layers -> their length."""
    linear = linear_modules(model)
    lists = {name: len(module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    return {
        name: size
        for name, size in lists.items()
        if any(weight.startswith(f"{name}.") for weight in linear)
        and not any(name.startswith(f"{other}.") for other in lists)
    }


def _watch(model: nn.Module, batch: Batch) -> list[str]:
    """The names of all modules in the order in which one forward pass calls them."""
    calls: list[str] = []

    def note(name: str) -> Callable[[nn.Module, Any], None]:
        return lambda _module, _args: calls.append(name)

    handles = [module.register_forward_pre_hook(note(name)) for name, module in model.named_modules() if name]
    try:
        with torch.inference_mode():
            model(**model_inputs(model, batch))
    finally:
        for handle in handles:
            handle.remove()
    return calls


class BlockRelay:
    """Lets a model's forward pass compute just the blocks that matter to one stage.

    Blocks long merged answer what the last of them gave for the same text before, and blocks still to come hand on
    what they are given; the rest of the forward pass, which knows how its blocks are chained, runs as it is. So all
    stages together cost two passes and not one a stage, and no architecture's way of chaining is repeated here.
    """

    def __init__(self, stages: Stages) -> None:
        self._blocks, self._stacks = stages.blocks, stages.stacks
        self._forwards = [block.forward for block in stages.blocks]
        self._given: dict[tuple[Any, str], Any] = {}
        self._latest: Any = None
        self._text: Any = None

    def set_stage(self, number: int) -> None:
        """Prepare for stage `number`, all stages before it being merged."""
        block = max(number - 1, 0)
        for k, module in enumerate(self._blocks):
            module.forward = self._relayed(k, block)

    def set_text(self, text: Any) -> None:
        """Say which text comes next, by anything that tells texts apart."""
        self._text = text

    def _relayed(self, k: int, block: int) -> Callable[..., Any]:
        forward, stack = self._forwards[k], self._stacks[k]
        if k < block - 1:
            return lambda *_args, **_options: self._given[self._text, stack]
        if k == block - 1:  # merged just now

            def give(*args: Any, **options: Any) -> Any:
                given = self._given[self._text, stack] = forward(*args, **options)
                return given

            return give
        if k == block:

            def compute(*args: Any, **options: Any) -> Any:
                self._latest = forward(*args, **options)
                return self._latest

            return compute
        if stack == self._stacks[min(block, len(self._stacks) - 1)]:
            return lambda *_args, **_options: self._latest
        return forward
