"""Gram matrices of every linear layer's inputs, G = sum over real tokens of x x^T, in one forward pass.

Layers that receive the very same tensor (query, key and value) share one Gram.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fusion_ui.devices import device_of
from fusion_ui.domains.batches import Batch
from fusion_ui.errors import StatisticError
from fusion_ui.progress import Progress
from fusion_ui.statistics.crew import ALONE, MAX_WORKERS, Crew, find_num_workers, share_out, share_weights
from fusion_ui.statistics.gram_sum import GramSum
from fusion_ui.statistics.rows import Stacks, TokenRows
from fusion_ui.statistics.statistic import LinearInput
from fusion_ui.statistics.symmetric_products import set_num_threads
from fusion_ui.tasks.inputs import model_inputs

BATCHES_A_TURN = 2
"""Of each thread. They wait for each other after a turn, and longer turns are waited for longer by others."""


@dataclass
class _Sum:
    """One Gram in the making, the float64 sum of its rows, and calls that could not be counted."""

    gram: GramSum
    input_sum: Float[Tensor, " n"]
    num_odd_calls: int = 0
    odd_shape: tuple[int, ...] = ()

    @torch.inference_mode()
    def absorb(self, other: _Sum) -> None:
        """Add what another sum of the same layer has."""
        self.gram.absorb(other.gram)
        self.input_sum += other.input_sum
        self.num_odd_calls += other.num_odd_calls
        self.odd_shape = self.odd_shape or other.odd_shape

    @torch.inference_mode()
    def total(self, input_sums: bool) -> Float[Tensor, "_ _"]:
        """The Gram of x, or of [x, 1]."""
        gram = self.gram.total().cpu()
        return append_ones(gram, self.input_sum.cpu(), self.gram.num_rows) if input_sums else gram


def linear_modules(model: nn.Module) -> dict[str, tuple[nn.Module, bool]]:
    """Weight name -> (module, stored transposed) for every linear map: `nn.Linear` and GPT-2's `Conv1D`.

    An output layer whose weight is the table of the embeddings is no map of its own: it is merged as that table is.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    found: dict[str, tuple[nn.Module, bool]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and id(module.weight) not in tables:
            found[f"{name}.weight"] = (module, False)
        elif type(module).__name__ == "Conv1D" and getattr(module, "weight", torch.empty(0)).ndim == 2:
            found[f"{name}.weight"] = (module, True)
    return found


def accumulate_grams(
    model: nn.Module,
    batches: Sequence[Batch],
    count_padding: bool,
    progress: Progress,
    input_sums: bool = False,
    num_workers: int | None = None,
) -> tuple[dict[str, Float[Tensor, "n n"]], dict[str, LinearInput]]:
    """Run `batches` through `model` and sum x x^T for the input of every linear layer.

    Args:
        model: in eval mode.
        batches: padded token ids with their masks.
        count_padding: count padding tokens as data. Only for parity with published code.
        input_sums: the Grams of [x, 1] in place of x.
        num_workers: threads that take batches in turn; None for as many as this machine has use for.

    Returns:
        Gram sums by key, and for every linear weight where its Gram is.

    Raises:
        StatisticError: layers that shared an input in one batch did not in another.
    """
    models = share_weights(model, num_workers or find_num_workers(model))
    collectors = [GramCollector(linear_modules(each), input_sums) for each in models]
    shares, num_done = share_out(batches, len(models)), 0
    num_texts = sum(len(batch.indices) for batch in batches)

    def run(collector: GramCollector, own: nn.Module, share: Sequence[Batch]) -> None:
        for batch in share:
            progress.check()
            collector.run(own, batch, count_padding)

    with Crew(len(models)) as crew, ExitStack() as attached:
        for collector in collectors:
            attached.enter_context(collector.attached())
        for start in range(0, max(map(len, shares)), BATCHES_A_TURN):
            step = [share[start : start + BATCHES_A_TURN] for share in shares]
            progress.report(num_done / num_texts, f"{num_done} of {num_texts} texts")
            with progress.turn():
                crew.run([partial(run, *own) for own in zip(collectors, models, step, strict=True)])
            num_done += sum(len(batch.indices) for share in step for batch in share)
        first, *others = collectors
        for other in others:
            first.absorb(other, crew)
        return first.finish(crew)


def append_ones(
    gram: Float[Tensor, "n n"], input_sum: Float[Tensor, " n"], num_rows: int
) -> Float[Tensor, "augmented augmented"]:
    """The Gram of the rows [x, 1], from that of the rows x, their sum and their number."""
    corner = torch.tensor([[float(num_rows)]], dtype=gram.dtype)
    return torch.cat([torch.cat([gram, input_sum[:, None]], 1), torch.cat([input_sum[None], corner], 1)])


class GramCollector:
    """Forward pre-hooks on linear layers, and the sums that they fill."""

    def __init__(self, modules: Mapping[str, tuple[nn.Module, bool]], input_sums: bool = False) -> None:
        set_num_threads(_count_threads())
        self.modules, self.input_sums = modules, input_sums
        self.sums: dict[str, _Sum] = {}
        self.leader_of: dict[str, str] = {}
        self.seen: list[tuple[Tensor, str]] = []
        self._find_rows: Callable[[nn.Module, Tensor], TokenRows] | None = None

    def attached(self) -> _Hooks:
        """Observe the layers inside a with block."""
        return _Hooks(
            [module.register_forward_pre_hook(self._hook(name)) for name, (module, _) in self.modules.items()]
        )

    @torch.inference_mode()
    def run(self, model: nn.Module, batch: Batch, count_padding: bool) -> None:
        """Run one batch through `model` and add what the layers see."""
        # The last batch's inputs are forgotten; they were kept alive so that identity means the same tensor.
        self.seen = []
        if batch.answer_mask is not None:
            stacks = Stacks(model, batch, count_padding)
            self._find_rows = stacks.find
            with stacks.watch():
                model(**model_inputs(model, batch))
            return
        given, mask = model_inputs(model, batch), batch.attention_mask
        counted = torch.ones_like(mask) if count_padding else mask
        if len(mask) == 1 and getattr(getattr(model, "config", None), "relative_attention", False):
            # DeBERTa also projects its (1, position, n) table of relative positions. Beside a second text that is
            # not counted, a lone text can never be taken for it.
            given = {name: values.repeat(2, 1) for name, values in given.items()}
            counted = torch.cat([counted, torch.zeros_like(counted)])
        rows = TokenRows(counted.bool().to(device_of(model)))
        self._find_rows = lambda _module, _x: rows
        model(**given)

    def absorb(self, other: GramCollector, crew: Crew) -> None:
        """Add what another collector saw of the same model."""
        pairs = [(self.sums.setdefault(name, total), total) for name, total in other.sums.items()]
        crew.run([partial(mine.absorb, theirs) for mine, theirs in pairs if mine is not theirs])
        for name, leader in other.leader_of.items():
            self._follow(name, leader)

    def _follow(self, name: str, leader: str) -> None:
        if self.leader_of.setdefault(name, leader) != leader:
            raise StatisticError(f"The layer {name} shares its input with another layer in some batches only.")

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _module, args: self._observe(name, args[0])

    def _observe(self, name: str, x: Tensor) -> None:
        leader = next((leader for tensor, leader in self.seen if tensor is x), name)
        self._follow(name, leader)
        if leader != name:
            return
        self.seen.append((x, name))
        width = x.shape[-1]
        total = self.sums.get(name)
        if total is None:
            total = self.sums[name] = _Sum(
                GramSum(width, x.device), torch.zeros(width, dtype=torch.float64, device=x.device)
            )
        assert self._find_rows is not None  # `run` sets it before any layer is called
        rows = self._find_rows(self.modules[name][0], x).pick(x)
        if rows is None:
            total.num_odd_calls, total.odd_shape = total.num_odd_calls + 1, tuple(x.shape)
            return
        total.gram.add(rows)
        if self.input_sums:
            total.input_sum += rows.sum(0, dtype=torch.float64)

    def finish(self, crew: Crew = ALONE) -> tuple[dict[str, Float[Tensor, "_ _"]], dict[str, LinearInput]]:
        """Gram sums by key, and for every linear weight where its Gram is."""
        grams: dict[str, Tensor] = {}

        def fill(leader: str) -> None:
            grams[leader] = self.sums[leader].total(self.input_sums)

        counted = [name for name, total in self.sums.items() if total.gram.num_rows]
        crew.run([partial(fill, leader) for leader in counted])
        inputs = {}
        for name, (_, is_transposed) in self.modules.items():
            leader = self.leader_of.get(name)
            if leader is None:
                inputs[name] = LinearInput("", 0, is_transposed, "the layer was never called")
                continue
            total = self.sums[leader]
            reason = ""
            if total.num_odd_calls:
                shape = list(total.odd_shape)
                reason = (
                    f"{total.num_odd_calls} calls with inputs of shape {shape}, which are not tokens, were left out"
                )
            num_rows = total.gram.num_rows
            if num_rows == 0:
                inputs[name] = LinearInput("", 0, is_transposed, reason or "no real token reached the layer")
                continue
            inputs[name] = LinearInput(leader, num_rows, is_transposed, reason)
        return {name: grams[name] for name in counted}, inputs


@cache
def _count_threads() -> int:
    """Of BLAS in every pass, so that sums repeat to the bit; settled by the first.

    In a pass without a crew, torch's threads, which wait at work for a while, would hold up as many of BLAS.
    """
    return max(1, torch.get_num_threads() // MAX_WORKERS)


class _Hooks:
    """Removes its hooks at the end of a with block."""

    def __init__(self, handles: list[torch.utils.hooks.RemovableHandle]) -> None:
        self.handles = handles

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()
