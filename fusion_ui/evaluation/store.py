"""Logits that were computed once are never computed again: kept in memory and on disk, keyed by model and domain."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from pathlib import Path

from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fusion_ui.sources.files import mark_used, replace_file, trim_directory

LOGGER = logging.getLogger("fusion_ui")
MAX_BYTES_IN_MEMORY = 256 << 20
"""Of all runs of logits. One takes a few kilobytes where texts have labels, and megabytes where each word has."""
VERSION = 1
"""Part of every key: raise it when the same model and text would give other logits than before."""
WRITES_BETWEEN_TRIMS = 1_000


class LogitsMemory:
    """Model key and domain key -> logits of the domain's first examples, in evaluation order. Thread-safe.

    Nothing reaches the disk: for what somebody typed, which nobody else needs.
    """

    def __init__(self) -> None:
        self._memory: OrderedDict[tuple[str, str], Tensor] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    def get(self, model: str, domain: str) -> Float[Tensor, "example ..."] | None:
        """The longest known run of logits; None if nothing is known."""
        with self._lock:
            if (model, domain) in self._memory:
                self._memory.move_to_end((model, domain))
            return self._memory.get((model, domain))

    def put(self, model: str, domain: str, logits: Float[Tensor, "example ..."], is_complete: bool) -> None:
        """Remember logits; `is_complete` says that they are those of the whole domain."""
        self._keep(model, domain, logits)

    def _keep(self, model: str, domain: str, logits: Tensor) -> bool:
        """Remember logits unless more are known; True if it did."""
        with self._lock:
            known = self._memory.get((model, domain))
            if known is not None and len(known) >= len(logits):
                return False
            self._num_bytes += logits.nbytes - (0 if known is None else known.nbytes)
            self._memory[model, domain] = logits
            self._memory.move_to_end((model, domain))
            while self._num_bytes > MAX_BYTES_IN_MEMORY and len(self._memory) > 1:  # the newest is about to be read
                _, oldest = self._memory.popitem(last=False)
                self._num_bytes -= oldest.nbytes
            return True


class ResultStore(LogitsMemory):
    """The same, and every complete run on disk too."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        super().__init__()
        self._directory, self._max_bytes = directory, max_bytes
        self._num_writes = 0

    def get(self, model: str, domain: str) -> Float[Tensor, "example ..."] | None:
        """The longest known run of logits; None if nothing is known."""
        found = super().get(model, domain)
        if found is None and (path := self._path(model, domain)).is_file():
            try:
                found = load_file(path)["logits"]
            except (SafetensorError, KeyError, OSError):
                path.unlink(missing_ok=True)  # a damaged entry is computed again
            else:
                mark_used(path)
                self._keep(model, domain, found)
        return found

    def put(self, model: str, domain: str, logits: Float[Tensor, "example ..."], is_complete: bool) -> None:
        """Remember logits; only a complete run is written to disk."""
        if self._keep(model, domain, logits) and is_complete:
            try:
                self._write(self._path(model, domain), logits)
            except OSError as error:  # a full or read-only disk: this process still remembers
                LOGGER.warning("a result could not be kept on disk: %s", error.strerror or error)

    def _write(self, path: Path, logits: Tensor) -> None:
        with replace_file(path) as temporary:
            save_file({"logits": logits.contiguous()}, temporary)
        with self._lock:
            self._num_writes += 1
            is_time_to_trim = self._num_writes % WRITES_BETWEEN_TRIMS == 1
        if is_time_to_trim:
            trim_directory(self._directory, self._max_bytes)

    def _path(self, model: str, domain: str) -> Path:
        name = hashlib.sha256(f"{VERSION} {model} {domain}".encode()).hexdigest()[:32]
        return self._directory / f"{name}.safetensors"
