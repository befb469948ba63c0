"""Measure a statistic of a checkpoint on a domain, or find it in the disk cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.devices import awaits_gpu, find_device, find_precisions, place
from fusion_ui.domains.batches import EncodedText, make_batches
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import DomainError, StatisticError
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.sources.files import hold_lock, mark_used, trim_directory
from fusion_ui.statistics.bundle import FORMAT, read_statistic, write_statistic
from fusion_ui.statistics.fisher import accumulate_fisher
from fusion_ui.statistics.gram import accumulate_grams
from fusion_ui.statistics.sampling import sample_indices
from fusion_ui.statistics.statistic import Statistic, StatisticKind, StatisticSettings
from fusion_ui.statistics.token_counts import count_tokens
from fusion_ui.tasks import find_task, load_model
from fusion_ui.tasks.tokenizer import Tokenizer


def cached_path(
    checkpoint: Checkpoint, domain: Domain, kind: StatisticKind, how: StatisticSettings, settings: Settings
) -> Path:
    """Where the cache keeps a statistic: keyed by checkpoint, tokenizer, text and everything that shapes the result."""
    return _cached_paths(checkpoint, domain, kind, how, settings)[0]


def is_cached(
    checkpoint: Checkpoint, domain: Domain, kind: StatisticKind, how: StatisticSettings, settings: Settings
) -> bool:
    """True if `measure` would find the statistic."""
    return any(path.is_file() for path in _cached_paths(checkpoint, domain, kind, how, settings))


def _cached_paths(
    checkpoint: Checkpoint, domain: Domain, kind: StatisticKind, how: StatisticSettings, settings: Settings
) -> list[Path]:
    """Where this process keeps a statistic, then where another may have kept it that this one takes."""
    parts = [FORMAT, kind, checkpoint.fingerprint, checkpoint.tokenizer_fingerprint, domain.fingerprint]
    found = []
    for precision in find_precisions():
        key = json.dumps([*parts, how.describe(), settings.max_tokens_per_text, *precision])
        found.append(settings.statistics_dir / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors")
    return found


def measure(
    checkpoint: Checkpoint,
    domain: Domain,
    kind: StatisticKind,
    how: StatisticSettings,
    settings: Settings,
    progress: Progress | None = None,
) -> Statistic:
    """The statistic, from the cache where it is there intact, measured and cached otherwise.

    Raises:
        StatisticError: `how` asks for no example, or gradients are wanted of a server that borrows a GPU for them.
        CheckpointError: the checkpoint cannot be loaded.
    """
    progress = progress or Progress()
    if how.num_examples < 1:
        raise StatisticError(f"A statistic needs at least one example. Got {how.num_examples}.")
    paths = _cached_paths(checkpoint, domain, kind, how, settings)
    if (found := _recall(paths)) is not None:
        return found
    # One measurement at a time, here and in other processes: side by side they would only slow each other down, and
    # who waits for the same statistic finds it done.
    with hold_lock(settings.statistics_dir / ".lock", progress, "waiting for another measurement"):
        if (found := _recall(paths)) is not None:
            return found
        write_statistic(paths[0], _compute(checkpoint, domain, kind, how, settings, progress))
        statistic = read_statistic(paths[0])
        trim_directory(settings.statistics_dir, settings.max_statistics_bytes)
    return statistic


def encode_sample(
    checkpoint: Checkpoint, domain: Domain, how: StatisticSettings, settings: Settings
) -> tuple[list[EncodedText], int]:
    """The texts, or pairs, that a checkpoint is measured on as its tokenizer gives them, and the id that pads them.

    Raises:
        DomainError: the model is measured on texts with their answers, and there are none.
    """
    task, tokenizer = find_task(checkpoint.config), Tokenizer(checkpoint, settings.max_tokens_per_text)
    if task.measures_answers and not domain.labels:
        raise DomainError(
            f"The calibration text of {checkpoint.name} has no labels. A model that writes text is measured while it "
            "reads a text and is shown the right answer: name the column of the answers as 'label_column'."
        )
    chosen = sample_indices(len(domain.texts), how.num_examples, how.seed)
    return task.encode(domain, chosen, tokenizer), tokenizer.pad_id


def _recall(paths: Sequence[Path]) -> Statistic | None:
    for path in reversed(paths):  # what was computed on a GPU that was lent goes before what the server adds
        if not path.is_file():
            continue
        try:
            statistic = read_statistic(path)
        except StatisticError:
            path.unlink(missing_ok=True)  # a damaged cache entry is measured again
            continue
        mark_used(path)
        return statistic
    return None


def _compute(
    checkpoint: Checkpoint,
    domain: Domain,
    kind: StatisticKind,
    how: StatisticSettings,
    settings: Settings,
    progress: Progress,
) -> Statistic:
    if kind is StatisticKind.FISHER and awaits_gpu():
        raise StatisticError(
            f"Fisher information of {checkpoint.name} is measured on the GPU that this Space borrows. Compare a method "
            "that needs it first."
        )
    texts, pad_id = encode_sample(checkpoint, domain, how, settings)
    model = place(load_model(checkpoint), find_device())
    inputs, token_counts = {}, {}
    if kind is StatisticKind.GRAM:
        batches = list(make_batches(texts, range(len(texts)), pad_id, settings.max_tokens_per_batch))
        tensors, inputs = accumulate_grams(model, batches, how.count_padding, progress, how.input_sums)
        token_counts = count_tokens(model, batches, how.count_padding) if how.token_counts else {}
    else:
        tensors = accumulate_fisher(find_task(checkpoint.config), model, texts, progress)
    return Statistic(
        kind=kind,
        checkpoint=checkpoint.fingerprint,
        domain=domain.fingerprint,
        settings=how,
        num_examples=len(texts),
        num_tokens=sum(map(len, texts)),
        tensors=tensors,
        inputs=inputs,
        token_counts=token_counts,
    )
