"""Where the random numbers of a merge come from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fusion_ui.checkpoints.checkpoint import Checkpoint


class ExpertSeeds(Sequence[int]):
    """A seed for each expert, made when it is asked for: fingerprints read every byte of a model."""

    def __init__(self, seed: int, name: str, experts: Sequence[Checkpoint]) -> None:
        self._seed, self._name, self._experts = seed, name, experts

    def __len__(self) -> int:
        return len(self._experts)

    def __getitem__(self, index):
        return _seed_of(self._seed, self._name, self._experts[index].fingerprint)


def _seed_of(seed: int, name: str, fingerprint: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {name} {fingerprint}".encode()).digest()[:7], "big")
