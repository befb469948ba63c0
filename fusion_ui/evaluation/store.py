"""Logits that were computed once are never computed again: kept in memory and on disk, keyed by model and domain."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from pathlib import Path

from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fusion_ui.sources.files import replace_file

MAX_IN_MEMORY = 20_000
"""Runs of logits kept in memory; one takes a few kilobytes."""


class ResultStore:
    """Model key and domain key -> logits of the domain's first examples, in evaluation order. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._memory: OrderedDict[tuple[str, str], Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, model: str, domain: str) -> Float[Tensor, "example label"] | None:
        """The longest known run of logits; None if nothing is known."""
        with self._lock:
            found = self._memory.get((model, domain))
        if found is None and (path := self._path(model, domain)).is_file():
            try:
                found = load_file(path)["logits"]
            except (SafetensorError, KeyError, OSError):
                path.unlink(missing_ok=True)  # a damaged entry is computed again
            else:
                with self._lock:
                    self._memory[model, domain] = found
        return found

    def put(self, model: str, domain: str, logits: Float[Tensor, "example label"], is_complete: bool) -> None:
        """Remember logits; only a complete run is written to disk."""
        with self._lock:
            known = self._memory.get((model, domain))
            if known is not None and len(known) >= len(logits):
                return
            self._memory[model, domain] = logits
            while len(self._memory) > MAX_IN_MEMORY:
                self._memory.popitem(last=False)
        if is_complete:
            with replace_file(self._path(model, domain)) as temporary:
                save_file({"logits": logits.contiguous()}, temporary)

    def _path(self, model: str, domain: str) -> Path:
        name = hashlib.sha256(f"{model} {domain}".encode()).hexdigest()[:32]
        return self._directory / f"{name}.safetensors"
