"""How long the protocol will take, from what there is to do and how fast this machine is at a sample of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from benchmarks.protocol.pairwise import COMPARED
from benchmarks.protocol.settings import METHODS
from benchmarks.protocol.study import Study
from fusion_ui.domains.batches import make_batches
from fusion_ui.tasks import find_task
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.training.loop import train_model
from fusion_ui.training.start import load_start

GRAM_SPEED, FISHER_SPEED = 0.45, 0.4
"""Of measuring, in sentences a second: as a share of the speed of answering and of training. Seen on two cores."""
MERGE_SPEED = 5e7
"""Parameters of all experts together that a merge gets through in a second, statistics measured before."""
SAMPLE = 48


@dataclass(frozen=True)
class Work:
    """What the experiments ask for when nothing is known yet, in sentences; merges in pieces."""

    trained: int
    answered: int
    grams: int
    fishers: int
    merges: int


def count_work(study: Study) -> Work:
    """Add up all experiments."""
    how, num = study.settings, len(study.names)
    seeds, together, methods = how.num_seeds, min(len(study.names), study.settings.num_seeds), len(METHODS)
    passes = how.num_train * how.training.num_epochs
    inside = seeds * (num + methods + 1) * num
    outside = seeds * num * methods
    pairs = (num + len(COMPARED) * num * (num - 1) // 2) * num
    growth = len(COMPARED) * max(num - 2, 1) * num
    heads = 2 * seeds * methods * together
    divided = seeds * (3 + methods) * 2  # all of the report, and its two sides
    sizes = how.num_draws * len(how.sizes) * num
    return Work(
        trained=seeds * (2 * num * passes + how.num_train * how.divided_epochs),
        answered=(inside + outside + pairs + growth + heads + divided + sizes) * how.num_report,
        # The third set of matrices is measured anew for the seconds beside the multi-task model's.
        grams=((2 * seeds + 1) * num + 2 * seeds) * how.num_calibration + how.num_draws * num * sum(how.sizes),
        fishers=seeds * (num + 2) * how.num_calibration,
        merges=seeds * (methods * (num + 4) + 1) + sizes // num + len(COMPARED) * num * (num + 1) // 2,
    )


def estimate_minutes(study: Study) -> dict[str, float]:
    """Minutes for every kind of work on this machine as it is now, after a few seconds of trying."""
    work, trainer = count_work(study), study.trainer
    task, how = find_task(trainer.base.config), replace(study.settings.training, num_epochs=1)
    tokenizer = Tokenizer(trainer.base, how.max_tokens)
    domain = study.training_text(study.names[0])
    texts = task.encode(domain, range(min(SAMPLE, len(domain.texts))), tokenizer)
    targets = task.read_targets(domain, trainer.label_names, tokenizer)
    model, other = (load_start(trainer.base, task, trainer.label_names, 0) for _ in range(2))
    # The first steps of a process are slow.
    train_model(other, task, texts[: how.batch_size], targets, how, tokenizer.pad_id)
    training = len(texts) / train_model(model, task, texts, targets, how, tokenizer.pad_id, trainer.progress)
    num_parameters = len(study.names) * sum(parameter.numel() for parameter in model.parameters())
    started, max_tokens = time.perf_counter(), study.workspace.settings.max_tokens_per_batch
    for batch in make_batches(texts, range(len(texts)), tokenizer.pad_id, max_tokens):
        task.compute_rows(model, batch)
    answering = len(texts) / (time.perf_counter() - started)
    seconds = {
        "training": work.trained / training,
        "answering": work.answered / answering,
        "statistics": work.grams / (GRAM_SPEED * answering) + work.fishers / (FISHER_SPEED * training),
        "merging": work.merges * num_parameters / MERGE_SPEED,
    }
    return {name: value / 60 for name, value in seconds.items()}


def describe_estimate(minutes: dict[str, float]) -> str:
    """One sentence."""
    parts = ", ".join(f"{name} {value:.1f}" for name, value in minutes.items())
    return f"All of it takes about {sum(minutes.values()):.0f} minutes on this machine as busy as it is now ({parts})."
