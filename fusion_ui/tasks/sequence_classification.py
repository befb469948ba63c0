"""Sequence classification: one label a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.loading import load_classifier
from fusion_ui.domains.batches import Batch, TokenIds
from fusion_ui.errors import CheckpointError


def load_model(checkpoint: Checkpoint) -> nn.Module:
    """The checkpoint as a module in eval mode, float32, with its weights.

    Raises:
        CheckpointError: the directory is not a sequence classifier that transformers can load.
    """
    _check_config(checkpoint)
    try:
        model, info = load_classifier(checkpoint.directory, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(f"The model {checkpoint.name} cannot be loaded: {_first_line(error)}") from None
    if info["missing_keys"]:
        raise CheckpointError(
            f"The model {checkpoint.name} is no trained text classifier: it has no {sorted(info['missing_keys'])[0]}. "
            "Choose a checkpoint that was fine-tuned for classification."
        )
    return model.eval().requires_grad_(False)


@lru_cache(maxsize=8)
def _load_tokenizer(directory: str, fingerprint: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory, trust_remote_code=False)


@contextmanager
def _refusing_panics(name: str) -> Iterator[None]:
    """The tokenizers' own language reports a pattern that it cannot finish by an exception outside of Exception."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise CheckpointError(
            f"The tokenizer of {name} cannot finish: {_first_line(error)} Use the tokenizer of its base model."
        ) from None


class Tokenizer:
    """Text to token ids, and the id that pads them."""

    def __init__(self, checkpoint: Checkpoint, max_tokens: int) -> None:
        try:
            with _refusing_panics(checkpoint.name):
                self._tokenizer = _load_tokenizer(str(checkpoint.directory), checkpoint.tokenizer_fingerprint)
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"The tokenizer of {checkpoint.name} cannot be loaded: {_first_line(error)}"
            ) from None
        self._name, config = checkpoint.name, checkpoint.config
        # RoBERTa's 514 positions hold 512 tokens, which only its tokenizer says; GPT-2 calls its limit n_positions.
        limits = [config.get("max_position_embeddings"), config.get("n_positions"), self._tokenizer.model_max_length]
        self.max_tokens = min([max_tokens, *(int(limit) for limit in limits if limit)])
        self._config_pad_id = config.get("pad_token_id")

    @property
    def pad_id(self) -> int:
        """The id that fills a batch: the model's own, by which a GPT-2 classifier finds a text's last token."""
        known = (i for i in (self._config_pad_id, self._tokenizer.pad_token_id) if i is not None)
        return next(known, 0)

    def encode(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token ids of each text, special tokens included, cut at `max_tokens`."""
        if not texts:
            return []
        # A text that no tokenizer can take (half of a surrogate pair) loses just those characters.
        readable = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        with _refusing_panics(self._name):
            encoded = self._tokenizer(readable, truncation=True, max_length=self.max_tokens)["input_ids"]
        return [tuple(ids) or (self.pad_id,) for ids in encoded]  # without a single token there is nothing to read


def compute_logits(
    model: nn.Module, batch: Batch, weights: Mapping[str, Tensor] | None = None
) -> Float[Tensor, "text label"]:
    """Logits of a batch, under `weights` in place of the module's own where given.

    The module is not changed, so one skeleton serves every merge.
    """
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    with torch.inference_mode():
        if weights is None:
            return model(**inputs).logits
        return torch.func.functional_call(model, dict(weights), args=(), kwargs=inputs).logits


def _check_config(checkpoint: Checkpoint) -> None:
    implementation = checkpoint.config.get("_attn_implementation") or checkpoint.config.get("attn_implementation")
    if implementation not in (None, "eager", "sdpa"):
        raise CheckpointError(
            f"The model {checkpoint.name} asks for the attention kernel {str(implementation)[:60]!r}. "
            "That would run code that is not part of Fusion UI and is refused."
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
