"""How much memory the server gives to what strangers brought: for one of them, and for all at once.

A rehearsal shows that a process of its own can compute with somebody's models. The server then does, and twenty people
whose models each fit would together not. So whatever computes here holds its models' bytes first, and is refused with a
sentence where they are too many. The demo, and all where the page is for one person alone, hold nothing.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fusion_ui.errors import BusyError, MergeError
from fusion_ui.merging.preflight import format_bytes
from fusion_ui.projects.project import Project
from fusion_ui.settings import Settings


class Loading:
    """The models that the server computes with now, and whose they are. Thread-safe."""

    def __init__(self, settings: Settings, demo: Project) -> None:
        self._settings, self._demo = settings, demo
        self._held: Counter[Path] = Counter()
        self._sizes: dict[Path, int] = {}
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, project: Project) -> Iterator[None]:
        """While inside, the bytes of a project's models are held; of one model once, however many compute with it.

        Raises:
            MergeError: they are more than one visitor may have in memory.
            BusyError: they are more than others leave now.
        """
        if self._settings.allows_folders or project == self._demo:
            yield
            return
        sizes = {path: _num_bytes(path) for path in {expert.model for expert in project.experts}}
        self._take(sizes)
        try:
            yield
        finally:
            self._release(sizes)

    def _take(self, sizes: dict[Path, int]) -> None:
        own, most = sum(sizes.values()), self._settings.max_loaded_bytes_per_visitor
        if own > most:
            raise MergeError(
                f"These models have {format_bytes(own)} of weights, and {format_bytes(most)} are the most here for one "
                "visitor. Remove a model, or take smaller ones."
            )
        with self._lock:
            others = sum(size for path, size in self._sizes.items() if path not in sizes)
            if others + own > self._settings.max_loaded_bytes:
                raise BusyError(
                    f"More people are here whose models fill this machine's memory: yours need {format_bytes(own)}, "
                    f"and {format_bytes(max(0, self._settings.max_loaded_bytes - others))} are left. Try again in a "
                    "minute."
                )
            self._sizes |= sizes
            self._held.update(dict.fromkeys(sizes, 1))

    def _release(self, sizes: dict[Path, int]) -> None:
        with self._lock:
            self._held.subtract(dict.fromkeys(sizes, 1))
            for path in [path for path in sizes if not self._held[path]]:
                del self._held[path], self._sizes[path]


def _num_bytes(model: Path) -> int:
    """Of its weights."""
    return sum(file.stat().st_size for file in model.glob("*.safetensors"))
