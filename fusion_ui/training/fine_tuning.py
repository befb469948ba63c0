"""From a base and labelled text to a model directory that `from_pretrained` loads."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusion_ui.checkpoints.checkpoint import TOKENIZER_FILES, Checkpoint
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.labels import name_numbers
from fusion_ui.errors import DomainError
from fusion_ui.progress import Progress
from fusion_ui.sources.files import replace_directory, write_json
from fusion_ui.tasks.task import Task
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.training.loop import train_model
from fusion_ui.training.settings import TrainingSettings
from fusion_ui.training.start import load_start

REPORT = "training.json"
"""What a model was trained on, how, and how long that took; lies beside its weights."""


@dataclass(frozen=True)
class Training:
    """What was done.

    Attributes:
        num_examples: domain name -> how many of its examples were read.
        seconds: wall time of the steps, loading and writing not included.
    """

    num_examples: dict[str, int]
    seconds: float


def fine_tune(
    base: Checkpoint,
    task: Task,
    label_names: tuple[str, ...],
    domains: Sequence[Domain],
    how: TrainingSettings,
    out: Path,
    progress: Progress | None = None,
) -> Training:
    """Train one model on all domains together and write it to `out`, whole or not at all.

    Args:
        label_names: what the outputs stand for, in order.

    Raises:
        DomainError: there is no text, it has no labels, or a label is none of `label_names`.
        CheckpointError: training cannot start from the base.
        StoppedError: `progress` was stopped; nothing is written.
    """
    progress, tokenizer = progress or Progress(), Tokenizer(base, how.max_tokens)
    if not domains:
        raise DomainError("There is no text to train on. Give at least one domain with labels.")
    texts, targets = [], []
    for domain in domains:
        named = name_numbers(domain, label_names, {}, task.split_label)
        for added, to in zip(task.encode_training(named, label_names, tokenizer), (texts, targets), strict=True):
            to += added
    progress.report(0.0, "loading the base")
    model = load_start(base, task, label_names, how.head_seed)
    with replace_directory(out.resolve()) as folder:
        seconds = train_model(model, task, texts, targets, how, tokenizer.pad_id, progress)
        model.save_pretrained(folder)
        for name in TOKENIZER_FILES:
            if (base.directory / name).is_file():
                shutil.copyfile(base.directory / name, folder / name)
        trained = Training({domain.name: len(domain.texts) for domain in domains}, seconds)
        about = {"base": base.source, "revision": base.revision, "settings": how.describe()}
        write_json(folder / REPORT, about | {"num_examples": trained.num_examples, "seconds": round(seconds, 2)})
    return trained
