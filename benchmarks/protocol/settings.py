"""How much of everything the protocol takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from fusion_ui.training.settings import TrainingSettings

METHODS = ("regmean", "fisher", "simple_mean")
"""The paper's, which every experiment merges by; others are measured by ``python -m benchmarks accuracy``."""


FINE_TUNING = TrainingSettings(num_epochs=2, learning_rate=1e-4, batch_size=16, max_tokens=64)


@dataclass(frozen=True)
class ProtocolSettings:
    """Sizes, such that all of it takes less than half an hour on two cores.

    Attributes:
        num_seeds: how many sets of experts are trained; a seed decides a set's head, batches and dropout.
        num_train: sentences that an expert is trained on.
        num_report: sentences of a domain's *report* split that models are scored on.
        num_calibration: sentences that statistics are measured on.
        sizes: numbers of calibration sentences that are compared.
        num_draws: how often those are drawn.
        divided_epochs: how often the expert of either side of a divided domain reads its text, which is short and
            mostly of one label: after fewer steps it only answers the more frequent label.
        major_share: part of a label that goes to one side of a divided domain.
        training: of experts and multi-task models; its seeds are set by the experiments.
    """

    num_seeds: int = 3
    num_train: int = 500
    num_report: int = 300
    num_calibration: int = 128
    sizes: tuple[int, ...] = (10, 30, 100, 300, 1000)
    num_draws: int = 3
    divided_epochs: int = 8
    major_share: float = 0.8
    training: TrainingSettings = FINE_TUNING

    def seeded(self, seed: int) -> TrainingSettings:
        """How the models of one set are trained: all from the same head, in an order of their own."""
        return replace(self.training, seed=seed, head_seed=seed)

    def dividing(self, seed: int) -> TrainingSettings:
        """How the experts of the divided domain are trained."""
        return replace(self.seeded(seed), num_epochs=self.divided_epochs)

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


FULL = ProtocolSettings()
QUICK = ProtocolSettings(
    num_train=48,
    num_report=20,
    num_calibration=12,
    divided_epochs=8,
    sizes=(4, 12, 40),
    num_draws=2,
    training=TrainingSettings(num_epochs=4, learning_rate=1e-3, batch_size=8, max_tokens=32),
)
"""The same on made-up text and a tiny model, in about a minute: shows that it runs, and nothing else."""
