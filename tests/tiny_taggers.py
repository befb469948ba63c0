"""Tiny models that tag words, trained in a second on made sentences whose tags follow from a rule."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

KINDS = {"per": "p", "loc": "l", "org": "g"}
"""Kind of entity -> the letter that its words begin with."""
SYLLABLES = tuple(f"{c}{v}" for c in "plgtkm" for v in "aeiou")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", ",", *SYLLABLES, *(f"##{s}" for s in SYLLABLES))
Sentence = tuple[list[str], list[str]]


def tags_of(*kinds: str) -> tuple[str, ...]:
    """O, and B- and I- for every kind."""
    return ("O", *(f"{place}-{kind.upper()}" for kind in kinds for place in "BI"))


def make_sentences(num: int, kinds: Sequence[str], seed: int = 0) -> list[Sentence]:
    """Words of one to three syllables and their tags: a word of a kind after one of that kind goes on with it."""
    generator = random.Random(seed)
    letters = {KINDS[kind]: kind.upper() for kind in kinds}
    starts = [s for s in SYLLABLES if s[0] in (*letters, *"tkm")]
    sentences = []
    for _ in range(num):
        words, tags, before = [], [], ""
        for _ in range(generator.randint(2, 9)):
            words.append(generator.choice(starts) + "".join(generator.choices(SYLLABLES, k=generator.randint(0, 2))))
            kind = letters.get(words[-1][0], "")
            tags.append(f"{'I' if kind == before else 'B'}-{kind}" if kind else "O")
            before = kind
        sentences.append((words, tags))
    return sentences


def write_tagger(
    directory: Path, labels: Sequence[str], sentences: Sequence[Sentence] = (), seed: int = 0, start: Path | None = None
) -> Path:
    """A BERT of one layer with a WordPiece tokenizer, trained on sentences where there are any.

    Args:
        start: a tagger whose encoder it starts from, as models that are to be merged do.
    """
    from transformers import BertConfig, BertForTokenClassification

    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertForTokenClassification(config)
        if start:
            model.bert = BertForTokenClassification.from_pretrained(start).bert
        tokenizer = _tokenizer()
        if sentences:
            _train(model, tokenizer, sentences, {label: i for i, label in enumerate(labels)})
    model.eval().save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def write_sentences(path: Path, sentences: Sequence[Sentence]) -> Path:
    """As JSON lines, CSV with a space between words, or CoNLL, by the file's ending."""
    if path.suffix == ".jsonl":
        lines = [json.dumps({"text": words, "label": tags}) for words, tags in sentences]
    elif path.suffix == ".csv":
        lines = ["text,label", *(f"{' '.join(words)},{' '.join(tags)}" for words, tags in sentences)]
    else:
        lines = [
            line for words, tags in sentences for line in (*(f"{w} {t}" for w, t in zip(words, tags, strict=True)), "")
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _train(model: nn.Module, tokenizer: object, sentences: Sequence[Sentence], positions: dict[str, int]) -> None:
    encoded = tokenizer([words for words, _ in sentences], is_split_into_words=True, padding=True, return_tensors="pt")
    targets = torch.full(encoded["input_ids"].shape, -100)
    for i, (_, tags) in enumerate(sentences):
        seen = set[int]()
        for place, word in enumerate(encoded.word_ids(i)):
            if word is not None and word not in seen:
                targets[i, place] = positions[tags[word]]
                seen.add(word)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    model.train()
    for step in range(60):
        rows = torch.arange(32) + 32 * step
        rows %= len(sentences)
        loss = model(**{k: v[rows] for k, v in encoded.items()}, labels=targets[rows]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _tokenizer() -> object:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=pieces, **names)
