"""Models that experiments need, trained once: kept in the cache under everything that shapes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.domain import Domain
from fusion_ui.progress import Progress
from fusion_ui.sources.files import hold_lock, remove_leftovers
from fusion_ui.tasks import find_task
from fusion_ui.training.fine_tuning import REPORT, fine_tune
from fusion_ui.training.settings import TrainingSettings

VERSION = 1
"""Raise it when the same text and settings would give another model than before."""


@dataclass(frozen=True)
class Trained:
    """A model directory, and what its training took."""

    directory: Path
    seconds: float


@dataclass(frozen=True)
class Trainer:
    """Trains from one base, or finds what was trained before.

    Attributes:
        folder: where models are kept, a directory each.
    """

    base: Checkpoint
    label_names: tuple[str, ...]
    folder: Path
    progress: Progress

    def train(self, domains: Sequence[Domain], how: TrainingSettings) -> Trained:
        """One model for all `domains` together."""
        out = self.folder / self.key(domains, how)
        if not (out / REPORT).is_file():
            with hold_lock(self.folder / ".lock", self.progress, "waiting for another process that trains"):
                remove_leftovers(out.parent)
                if not (out / REPORT).is_file():
                    fine_tune(
                        self.base, find_task(self.base.config), self.label_names, domains, how, out, self.progress
                    )
        about = json.loads((out / REPORT).read_text(encoding="utf-8"))
        return Trained(out, about["seconds"])

    def key(self, domains: Sequence[Domain], how: TrainingSettings) -> str:
        """Digest of base, text, labels, settings and the versions that compute."""
        parts = [VERSION, torch.__version__, transformers.__version__, self.base.fingerprint, self.label_names]
        parts += [self.base.tokenizer_fingerprint, [domain.fingerprint for domain in domains], how.describe()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
