"""Fine-tuning in place, batch by batch; the same settings and text give the same weights."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import torch
from torch import nn

from fusion_ui.domains.batches import EncodedText, pad_batch
from fusion_ui.errors import TrainingError
from fusion_ui.progress import Progress
from fusion_ui.tasks.task import Target, Task
from fusion_ui.training.settings import TrainingSettings

WEIGHT_DECAY, MAX_NORM, WARMUP = 0.01, 1.0, 0.1
SPREAD = 8
"""Tokens by which texts of one batch may differ more than their order by length would have it, so batches vary."""


def train_model(
    model: nn.Module,
    task: Task,
    texts: Sequence[EncodedText],
    targets: Sequence[Target],
    how: TrainingSettings,
    pad_id: int,
    progress: Progress | None = None,
) -> float:
    """Fine-tune what of `model` requires a gradient, and leave it in eval mode; return the seconds it took.

    Raises:
        StoppedError: `progress` was stopped.
        TrainingError: the loss was no finite number any more.
    """
    from transformers import get_linear_schedule_with_warmup

    progress, started = progress or Progress(), time.perf_counter()
    batches = plan_batches([len(text) for text in texts], how)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=how.learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARMUP * len(batches)), len(batches))
    model.train()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(how.seed)  # for dropout
        for number, indices in enumerate(batches):
            progress.report(number / len(batches), _describe(number, len(batches), time.perf_counter() - started))
            with progress.turn():
                loss = task.training_loss(model, pad_batch(texts, indices, pad_id), [targets[i] for i in indices])
                if not loss.isfinite():
                    raise TrainingError(
                        f"Training went astray at step {number + 1}: the loss is {loss.item()}. "
                        "Lower the learning rate."
                    )
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
    model.eval().requires_grad_(False)
    progress.report(1.0, f"trained in {time.perf_counter() - started:.0f} s")
    return time.perf_counter() - started


def plan_batches(lengths: Sequence[int], how: TrainingSettings) -> list[list[int]]:
    """Which examples every step reads, texts of similar length together, in an order that the seed decides."""
    generator, steps = random.Random(how.seed), []
    for _ in range(how.num_epochs):
        order = sorted(range(len(lengths)), key=lambda i: lengths[i] + SPREAD * generator.random())
        epoch = [order[i : i + how.batch_size] for i in range(0, len(order), how.batch_size)]
        generator.shuffle(epoch)
        steps += epoch
    return steps


def _describe(number: int, total: int, seconds: float) -> str:
    left = f", about {seconds / number * (total - number):.0f} s left" if number >= 3 else ""
    return f"step {number + 1} of {total}{left}"
