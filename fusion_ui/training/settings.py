"""What shapes a trained model, besides its start and its text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fusion_ui.errors import ParameterError


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is fine-tuned: AdamW, a tenth of the steps to warm up, then linearly to nothing.

    Attributes:
        num_epochs: how often every example is read.
        learning_rate: at its highest.
        batch_size: examples a step.
        max_tokens: longer texts are cut.
        seed: decides the order of the batches and what dropout drops.
        head_seed: draws the head anew; None keeps the base's own, or draws it by 0 where the base has none.

    Raises:
        ParameterError: a value is out of range.
    """

    num_epochs: int = 2
    learning_rate: float = 1e-4
    batch_size: int = 32
    max_tokens: int = 128
    seed: int = 0
    head_seed: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("num_epochs", 1), ("batch_size", 1), ("max_tokens", 8)):
            if getattr(self, name) < least:
                raise ParameterError(f"{name} must be at least {least}. Got {getattr(self, name)} instead.")
        if not 0 < self.learning_rate < 1:
            raise ParameterError(f"learning_rate must lie between 0 and 1. Got {self.learning_rate} instead.")

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)
