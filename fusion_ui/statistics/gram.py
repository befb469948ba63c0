"""Gram matrices of every linear layer's inputs, G = sum over real tokens of x x^T, in one forward pass.

Layers that receive the very same tensor (query, key and value) share one Gram.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fusion_ui.devices import device_of
from fusion_ui.domains.batches import Batch
from fusion_ui.errors import StatisticError
from fusion_ui.progress import Progress
from fusion_ui.statistics.gram_sum import GramSum
from fusion_ui.statistics.rows import Stacks, TokenRows
from fusion_ui.statistics.statistic import LinearInput
from fusion_ui.tasks.inputs import model_inputs


@dataclass
class _Sum:
    """One Gram in the making, the float64 sum of its rows, and calls that could not be counted."""

    gram: GramSum
    input_sum: Float[Tensor, " n"]
    num_odd_calls: int = 0
    odd_shape: tuple[int, ...] = ()


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
    model: nn.Module, batches: Sequence[Batch], count_padding: bool, progress: Progress, input_sums: bool = False
) -> tuple[dict[str, Float[Tensor, "n n"]], dict[str, LinearInput]]:
    """Run `batches` through `model` and sum x x^T for the input of every linear layer.

    Args:
        model: in eval mode.
        batches: padded token ids with their masks.
        count_padding: count padding tokens as data. Only for parity with published code.
        input_sums: the Grams of [x, 1] in place of x.

    Returns:
        Gram sums by key, and for every linear weight where its Gram is.

    Raises:
        StatisticError: layers that shared an input in one batch did not in another.
    """
    collector = GramCollector(linear_modules(model), input_sums)
    num_done, num_texts = 0, sum(len(batch.indices) for batch in batches)
    with collector.attached():
        for batch in batches:
            progress.report(num_done / num_texts, f"{num_done} of {num_texts} texts")
            with progress.turn():
                collector.run(model, batch, count_padding)
            num_done += len(batch.indices)
    return collector.finish()


def append_ones(
    gram: Float[Tensor, "n n"], input_sum: Float[Tensor, " n"], num_rows: int
) -> Float[Tensor, "augmented augmented"]:
    """The Gram of the rows [x, 1], from that of the rows x, their sum and their number."""
    corner = torch.tensor([[float(num_rows)]], dtype=gram.dtype)
    return torch.cat([torch.cat([gram, input_sum[:, None]], 1), torch.cat([input_sum[None], corner], 1)])


class GramCollector:
    """Forward pre-hooks on linear layers, and the sums that they fill."""

    def __init__(self, modules: Mapping[str, tuple[nn.Module, bool]], input_sums: bool = False) -> None:
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

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _module, args: self._observe(name, args[0])

    def _observe(self, name: str, x: Tensor) -> None:
        leader = next((leader for tensor, leader in self.seen if tensor is x), name)
        if self.leader_of.setdefault(name, leader) != leader:
            raise StatisticError(f"The layer {name} shares its input with another layer in some batches only.")
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

    @torch.inference_mode()
    def finish(self) -> tuple[dict[str, Float[Tensor, "_ _"]], dict[str, LinearInput]]:
        """Gram sums by key, and for every linear weight where its Gram is."""
        grams, inputs = {}, {}
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
            if leader not in grams:
                gram = total.gram.total().cpu()
                grams[leader] = append_ones(gram, total.input_sum.cpu(), num_rows) if self.input_sums else gram
            inputs[name] = LinearInput(leader, num_rows, is_transposed, reason)
        return grams, inputs


class _Hooks:
    """Removes its hooks at the end of a with block."""

    def __init__(self, handles: list[torch.utils.hooks.RemovableHandle]) -> None:
        self.handles = handles

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()
