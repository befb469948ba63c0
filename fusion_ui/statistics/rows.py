"""Which rows of a layer's input stand for real tokens: those of the text that is read, or of the one written."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from fusion_ui.devices import device_of
from fusion_ui.domains.batches import Batch


class TokenRows:
    """The rows of one mask."""

    def __init__(self, mask: Bool[Tensor, "text token"]) -> None:
        self.mask = mask
        self.real_tokens: Int[Tensor, " row"] = mask.flatten().nonzero()[:, 0]

    def pick(self, x: Tensor) -> Float[Tensor, "row n"] | None:
        """The rows that stand for real tokens or whole texts; None where the input is neither."""
        if x.ndim == 3 and x.shape[:2] == self.mask.shape:
            return self._pick(x.flatten(0, 1))
        if x.ndim == 2 and len(x) == self.mask.numel():  # OPT flattens texts and tokens
            return self._pick(x)
        if x.ndim == 2 and len(x) == len(self.mask):
            return x[self.mask.any(1)]
        return None

    def _pick(self, tokens: Float[Tensor, "token n"]) -> Float[Tensor, "row n"]:
        """The real ones; no copy is made where all are."""
        is_whole = len(self.real_tokens) == len(tokens)
        return tokens if is_whole else tokens.index_select(0, self.real_tokens)


class Stacks:
    """Tells what an encoder's layers see from what a decoder's layers see, whatever the two texts' lengths.

    A layer of the encoder sees the text that is read. One outside of it sees the text that is written, unless it is
    given the encoder's own output, as the keys and values of cross-attention are.
    """

    def __init__(self, model: Any, batch: Batch, count_padding: bool) -> None:
        self._encoder: nn.Module = model.get_encoder()
        self._inside = {id(module) for module in self._encoder.modules()}
        self._given: Tensor | None = None
        assert batch.answer_mask is not None  # asked for only where there are two texts
        masks = (batch.attention_mask, batch.answer_mask)
        counted = [(torch.ones_like(m) if count_padding else m).bool().to(device_of(model)) for m in masks]
        self.read, self.written = map(TokenRows, counted)

    def watch(self) -> torch.utils.hooks.RemovableHandle:
        """Observe what the encoder gives."""
        return self._encoder.register_forward_hook(self._keep)

    def find(self, module: nn.Module, x: Tensor) -> TokenRows:
        """The rows of a layer's input."""
        return self.read if id(module) in self._inside or x is self._given else self.written

    def _keep(self, _module: nn.Module, _args: Any, output: Any) -> None:
        self._given = output[0]
