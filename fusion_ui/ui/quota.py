"""How much one visitor may hold: what was sent and what was taken into its sessions' folders, as one sum.

A file that lies in several places, as an upload that was taken by a hard link, counts once. Uploads that were taken, or
that nothing more is asked of, stay for as long as there is room, and are the first to go where there is none.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fusion_ui.progress import Progress
from fusion_ui.projects.project import Project
from fusion_ui.sources.hub_access import keeping_private_in
from fusion_ui.ui.owners import Owners

LEAST_BYTES = 4096
"""What the smallest file takes of a disk."""


class Quota:
    """What every visitor holds, in bytes. Thread-safe.

    Args:
        folders_of: session id -> the directories of its files: what was brought, and what is handed out.
    """

    def __init__(self, owners: Owners, folders_of: Callable[[str], Iterable[Path]]) -> None:
        self._owners, self._folders_of = owners, folders_of
        self._folders: dict[str, set[Path]] = {}
        self._coming: Counter[str] = Counter()
        self._lock, self._reserving = threading.Lock(), threading.Lock()

    def key_of(self, session_id: str | None) -> str:
        """Whose the session is."""
        return self._owners.owner_of("session", session_id or "") or ""

    def num_bytes_of(self, key: str) -> int:
        """What lies on the disk for this visitor, and what is on its way there."""
        named = [folder for name in self._owners.sessions_of(key) for folder in self._folders_of(name)]
        with self._lock:
            # A session's folder outlives it by a moment, and counts until it has gone.
            folders = {folder for folder in (*named, *self._folders.pop(key, ())) if folder.exists()}
            if folders:
                self._folders[key] = folders
            coming = self._coming.get(key, 0)
        # Not `rglob`, which fails where a folder goes meanwhile.
        within = (Path(at, name) for folder in folders for at, _, names in os.walk(folder) for name in names)
        sizes: dict[tuple[int, int], int] = {}
        for path in (*self._owners.files_of(key), *within):
            with suppress(OSError):  # it has gone just now
                status = path.lstat()
                sizes[status.st_dev, status.st_ino] = max(status.st_size, LEAST_BYTES)
        return sum(sizes.values()) + coming

    @contextmanager
    def reserve(self, key: str, wanted: int, most: int, at_most: float = 0) -> Iterator[int]:
        """Bytes that are left of `most` for something that is on its way; while inside, they are held for it.

        Where `wanted` are not left, uploads that are done with go.

        Args:
            at_most: held where so many are left, though fewer may be needed.
        """
        with self._reserving:
            room = most - self.num_bytes_of(key)
            if room < wanted:
                self._owners.drop_released(key)  # what stays, as somebody else's, is this visitor's no more either
                room = most - self.num_bytes_of(key)
            held = max(0, int(min(room, max(wanted, at_most))))
            with self._lock:
                self._coming[key] += held
        try:
            yield room
        finally:
            with self._lock:
                self._coming[key] -= held
                if not self._coming[key]:
                    del self._coming[key]

    @contextmanager
    def taking(self, session_id: str | None, files: Iterable[str | Path]) -> Iterator[None]:
        """Uploads that are taken inside, or refused; afterwards nothing more is asked of them."""
        with self._owners.taking(map(Path, files), self.key_of(session_id)):
            yield


@contextmanager
def new_place(folder: Path, kind: str) -> Iterator[Path]:
    """A new directory in a visitor's folder, which goes again where what it is for fails."""
    (folder / kind).mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=folder / kind))
    try:
        yield place
    except BaseException:  # a visitor who leaves too
        shutil.rmtree(place, ignore_errors=True)
        raise


def keep_private(folder: Callable[[], Path], work: Callable[[Progress], Any], progress: Progress) -> Any:
    """`work`, whose private and gated downloads lie in a visitor's folder, and nowhere that outlives the visit."""
    with keeping_private_in(lambda: folder() / "private"):
        return work(progress)


def remove_unused(folder: Path, before: Project, after: Project) -> None:
    """Remove what lay in a visitor's folder for the project as it was and is not for as it is."""
    kept = {_place(folder, path) for path in _paths(after)}
    for place in {_place(folder, path) for path in _paths(before)} - kept - {None}:
        assert place is not None
        shutil.rmtree(place, ignore_errors=True)


def _paths(project: Project) -> Iterator[Path]:
    yield from filter(None, (project.base, project.multitask))
    for expert in project.experts:
        yield from filter(None, (expert.model, expert.statistics))
    for domain in project.domains:
        yield from domain.files


def _place(folder: Path, path: Path) -> Path | None:
    """The directory, made by `new_place`, in which a path lies; None for what lies elsewhere."""
    if not path.is_relative_to(folder):
        return None
    parts = path.relative_to(folder).parts[:2]
    return folder.joinpath(*parts) if len(parts) == 2 else None
