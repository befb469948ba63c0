"""Made-up text with a known answer and a tiny model: the whole protocol in about a minute."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import torch

from benchmarks.protocol.settings import QUICK
from benchmarks.protocol.study import cut
from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.loaders import load_domain
from fusion_ui.progress import Progress
from fusion_ui.projects.project import SPLITS, Project, ProjectDomain, ProjectExpert, read_split
from fusion_ui.sources.files import replace_directory
from fusion_ui.tasks.sequence_classification import SequenceClassification
from fusion_ui.training.fine_tuning import fine_tune
from fusion_ui.training.settings import TrainingSettings

VERSION = 1
"""Raise it when text or models would be others than before: they are made once and kept."""
NAMES = ("fields", "rivers", "streets", "skies")
LABELS = ("negative", "positive")
SIZES = {"train": 60, "calibrate": 24, "select": 8, "report": 40}
NUM_GENERAL, PRETRAINING = 400, TrainingSettings(num_epochs=5, learning_rate=3e-3, batch_size=8, max_tokens=32)
"""The base is trained on words that all domains have, so that experts have something in common to start from."""
NUM_WORDS = 8
"""Words that mean a label, in every domain others, and as many that mean it in all."""


def prepare_tiny(folder: Path, progress: Progress) -> Project:
    """The project, made once: a base, four domains and their experts."""
    domains = [ProjectDomain(n, n.title(), *(folder / "text" / n / f"{s}.csv" for s in SPLITS)) for n in NAMES]
    experts = [ProjectExpert(n, n.title(), folder / "experts" / n, n) for n in NAMES]
    project = Project("tiny", "Made-up text", folder / "base", None, tuple(experts), tuple(domains))
    if folder.is_dir():
        return project
    with replace_directory(folder) as new:
        for number, name in enumerate(NAMES):
            for seed, (split, size) in enumerate(SIZES.items()):
                file = new / "text" / name / f"{split}.csv"
                file.parent.mkdir(parents=True, exist_ok=True)
                write_text(file, name, size, 10 * number + seed)
        write_text(new / "general.csv", "all", NUM_GENERAL, 99)
        write_blank(new / "blank")
        blank, general = Checkpoint("blank", new / "blank", "blank"), load_domain(new / "general.csv", "general")
        fine_tune(blank, SequenceClassification(), LABELS, [general], PRETRAINING, new / "base", progress)
        base = Checkpoint("base", new / "base", "base")
        for name in NAMES:
            files = {split: new / "text" / name / f"{split}.csv" for split in SPLITS}
            text = cut(read_split(ProjectDomain(name, name, **files), "train"), QUICK.num_train)
            fine_tune(
                base, SequenceClassification(), LABELS, [text], QUICK.seeded(99), new / "experts" / name, progress
            )
    return project


def vocabulary() -> list[str]:
    """Every word that any domain uses."""
    words = [
        f"{name}-{label}-{i}" for name in ("all", *NAMES) for label in (*LABELS, "neither") for i in range(NUM_WORDS)
    ]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]


def write_text(file: Path, name: str, count: int, seed: int) -> None:
    """Sentences of a few words that mean the label, some in this domain alone, and some that mean nothing."""
    generator, rows = random.Random(seed), []
    for i in range(count):
        label = LABELS[i % 2]
        telling = [f"{generator.choice(('all', name))}-{label}-{generator.randrange(NUM_WORDS)}" for _ in range(3)]
        rest = [f"{generator.choice(('all', name))}-neither-{generator.randrange(NUM_WORDS)}" for _ in range(3)]
        words = telling + rest
        generator.shuffle(words)
        rows.append({"text": " ".join(words), "label": label})
    pd.DataFrame(rows).to_csv(file, index=False)


def write_blank(directory: Path) -> None:
    """A BERT of two narrow layers whose tokens are the words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = vocabulary()
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.1,  # as narrow layers want it
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(directory)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(directory)
