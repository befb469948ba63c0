"""Tiny, randomly initialised classifiers and their text: real architectures that run in milliseconds."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

LABELS = ("negative", "positive")
NUM_WORDS = 46
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(NUM_WORDS)))


def tiny_bert(seed: int = 0, *, hidden_size: int = 16, labels: Sequence[str] = LABELS) -> nn.Module:
    """One BERT layer with a pooler and a classification head, in eval mode."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=hidden_size,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * hidden_size,
        max_position_embeddings=32,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    return _make(BertForSequenceClassification, config, seed)


def tiny_gpt2(seed: int = 0) -> nn.Module:
    """One GPT-2 layer, whose linear maps are Conv1D modules, with a classification head, in eval mode."""
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(
        vocab_size=len(VOCABULARY),
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=32,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    return _make(GPT2ForSequenceClassification, config, seed)


def _make(kind: type[nn.Module], config: object, seed: int, *sizes: int) -> nn.Module:
    """The same weights for a seed, whatever ran before; biases and LayerNorms too are away from their trivial start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config, *sizes)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return model.eval().requires_grad_(False)


def random_tokens(num_texts: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Token ids of texts of 3 to 12 tokens, in special tokens as the tokenizer would put them."""
    generator = random.Random(seed)
    return [(2, *generator.choices(range(4, 50), k=generator.randint(1, 10)), 3) for _ in range(num_texts)]


def random_texts(num_texts: int, seed: int = 0) -> tuple[str, ...]:
    """Texts of 1 to 10 known words, each text different from all others."""
    generator = random.Random(seed)
    texts: dict[str, None] = {}
    while len(texts) < num_texts:
        texts[" ".join(f"w{i}" for i in generator.choices(range(NUM_WORDS), k=generator.randint(1, 10)))] = None
    return tuple(texts)


def write_model(
    directory: Path,
    model: nn.Module,
    extra: Mapping[str, Tensor] | None = None,
    *,
    special_tokens: bool = True,
    padding_token: bool = True,
) -> Path:
    """Save model and tokenizer as `from_pretrained` reads them.

    Args:
        extra: tensors that are added or put in place.
        special_tokens: texts begin with [CLS] and end with [SEP], as BERT's; GPT-2's are the words alone.
        padding_token: the tokenizer knows one; GPT-2's does not.
    """
    from safetensors.torch import load_file, save_file

    model.save_pretrained(directory)
    _tokenizer(special_tokens, padding_token).save_pretrained(directory)
    if extra:
        file = directory / "model.safetensors"
        save_file({**load_file(file), **extra}, file, metadata={"format": "pt"})
    return directory


def write_experts(directory: Path, num_experts: int = 2, **change: object) -> list[Path]:
    """Tiny BERTs with different weights, in directories of their own."""
    return [write_model(directory / f"expert{i}", tiny_bert(i, **change)) for i in range(num_experts)]


def write_data(path: Path, num_texts: int = 12, seed: int = 0) -> Path:
    """A CSV file with the columns text and label."""
    generator = random.Random(seed)
    lines = [f"{text},{generator.choice(LABELS)}" for text in random_texts(num_texts, seed)]
    path.write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    return path


def _tokenizer(special_tokens: bool, padding_token: bool) -> object:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"unk_token": "[UNK]"} | ({"pad_token": "[PAD]"} if padding_token else {})
    if special_tokens:
        words.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]  # as BERT's; what a model cannot take is not given to it
    return PreTrainedTokenizerFast(tokenizer_object=words, model_input_names=inputs, **names)
