"""Tiny models that write text, and an independent look at what their layers see."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_models import VOCABULARY, _make
from torch import nn

SIZES: dict[str, Any] = {"vocab_size": len(VOCABULARY), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
DECODER: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 40,
}


def tiny_t5(seed: int = 0, *, is_gated: bool = False, **change: Any) -> nn.Module:
    """A T5 of two layers a stack: version 1.1 has gated feed-forward networks and an output layer of its own."""
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2}
    kind = {"feed_forward_proj": "gated-gelu" if is_gated else "relu", "tie_word_embeddings": not is_gated}
    config = T5Config(**SIZES | sizes | kind | {"decoder_start_token_id": 0} | change)
    model = _make(T5ForConditionalGeneration, config, seed)
    if is_gated:  # transformers ties the two unless a checkpoint holds both
        model.lm_head.weight = nn.Parameter(_make(nn.Embedding, 50, seed + 100, 16).weight, requires_grad=False)
    return model


def tiny_bart(seed: int = 0) -> nn.Module:
    """A BART of two layers a stack."""
    from transformers import BartConfig, BartForConditionalGeneration

    stacks = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in
              (("layers", 2), ("attention_heads", 2), ("ffn_dim", 32))}  # fmt: skip
    special = {"decoder_start_token_id": 3, "forced_eos_token_id": 3, "max_position_embeddings": 40}
    return _make(BartForConditionalGeneration, BartConfig(**SIZES | stacks | special, d_model=16), seed)


def tiny_gpt2_writer(seed: int = 0) -> nn.Module:
    """A GPT-2 of two layers, whose output layer is its table of embeddings."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return _make(GPT2LMHeadModel, GPT2Config(**SIZES, n_embd=16, n_layer=2, n_head=2, n_positions=40), seed)


def tiny_llama(seed: int = 0, *, is_tied: bool = False) -> nn.Module:
    """A Llama of two layers with grouped queries and, by default, an output layer of its own."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return _make(LlamaForCausalLM, LlamaConfig(**SIZES | DECODER, tie_word_embeddings=is_tied), seed)


def masked_grams(model: Any, inputs: dict[str, torch.Tensor], rows_of: Any) -> dict[str, tuple[np.ndarray, int]]:
    """Weight name -> (sum of x x^T in float64, rows), from one padded pass whose rows are picked by a mask.

    Args:
        rows_of: from a module's name to the mask of what it reads.
    """
    found: dict[str, tuple[np.ndarray, int]] = {}
    handles = []
    for name, module in model.named_modules():
        if type(module).__name__ in ("Linear", "Conv1D"):

            def note(_module: nn.Module, args: tuple, _output: Any, name: str = name) -> None:
                x = args[0].detach()
                x = x.reshape(-1, x.shape[-1])[rows_of(name).reshape(-1).bool()].double().numpy()
                gram, count = found.get(f"{name}.weight", (0.0, 0))
                found[f"{name}.weight"] = (gram + x.T @ x, count + len(x))

            handles.append(module.register_forward_hook(note))
    with torch.no_grad():
        model(**inputs)
    for handle in handles:
        handle.remove()
    return found


def pad(rows: Sequence[Sequence[int]], is_left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask."""
    width = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if is_left else slice(0, len(row))
        ids[i, place], mask[i, place] = torch.tensor(list(row)), 1
    return ids, mask


def write_writer(directory: Path, model: Any, *, ends: bool = False, pads: bool = True) -> Path:
    """Save a model and a tokenizer of whole words.

    Args:
        ends: a text ends with [SEP], the id that ends what these models write.
        pads: the tokenizer knows a token that pads.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if ends:
        words.post_processor = processors.TemplateProcessing(
            single="$A [SEP]", pair="$A [SEP] $B [SEP]", special_tokens=[("[SEP]", 3)]
        )
    names = {"unk_token": "[UNK]", "eos_token": "[SEP]"} | ({"pad_token": "[PAD]"} if pads else {})
    model.save_pretrained(directory)
    PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(directory)
    return directory


def train(model: Any, texts: Sequence[str], answers: Sequence[str], num_steps: int, seed: int) -> nn.Module:
    """Fine-tune in place by plain teacher forcing, or as a language model where there are no answers."""
    places = {word: i for i, word in enumerate(VOCABULARY)}
    model.train().requires_grad_(True)
    optimizer, generator = torch.optim.AdamW(model.parameters(), 3e-3), random.Random(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(num_steps):
            chosen = generator.sample(range(len(texts)), 32)
            ids, mask = pad([[places[w] for w in texts[i].split()] + [3] * bool(answers) for i in chosen])
            labels = ids
            if answers:
                labels, _ = pad([[*(places[w] for w in answers[i].split()), 3] for i in chosen])
            labels = labels.masked_fill(labels == 0, -100)
            model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return model.eval().requires_grad_(False)
