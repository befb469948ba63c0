"""What strangers had fetched from the hub, of which the latest used stays: nobody would ever remove it else.

Where the page is for one person alone, the hub's cache is that person's, and other programs use it: it is left alone.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from fusion_ui.projects.project import Project
from fusion_ui.ui.session import Session

LOGGER = logging.getLogger("fusion_ui")


def trim_fetched(cache: Path, most_bytes: int, projects: Iterable[Project], fresh_seconds: float) -> list[Path]:
    """Remove models from the hub's cache, the one first that was not used for longest, until `most_bytes` are left.

    Args:
        projects: whose models are in use, and stay.
        fresh_seconds: what was used so lately stays, too; it may be on its way into a project.

    Returns:
        What was removed.
    """
    used = {path.resolve() for project in projects for path in _models(project)}
    repositories = [path for path in cache.glob("models--*") if path.is_dir()]
    sizes = {path: _num_bytes(path) for path in repositories}
    removed, total = [], sum(sizes.values())
    for repository in sorted(repositories, key=_last_used):
        if total <= most_bytes:
            break
        is_fresh = time.time() - _last_used(repository) < fresh_seconds
        if is_fresh or any(path.is_relative_to(repository.resolve()) for path in used):
            continue
        shutil.rmtree(repository, ignore_errors=True)
        LOGGER.info("a fetched model was removed to make room: %s", repository.name)
        total -= sizes[repository]
        removed.append(repository)
    return removed


def projects_of(sessions: Iterable[Session], demo: Project) -> Iterator[Project]:
    """What every visitor shows or owns, and what all do."""
    yield demo
    for session in sessions:
        yield from (session.project, session.own)


def _models(project: Project) -> Iterator[Path]:
    yield from filter(None, (project.base, project.multitask))
    yield from (expert.model for expert in project.experts)


def _last_used(repository: Path) -> float:
    """When something was fetched into it or found there."""
    places = (repository, *repository.glob("refs/*"), *repository.glob("blobs/*"))
    return max((path.stat().st_mtime for path in places if path.exists()), default=0.0)


def _num_bytes(repository: Path) -> int:
    """Of its files, each counted once: what is named in several commits is a link."""
    paths = (Path(at, name) for at, _, names in os.walk(repository) for name in names)
    return sum(path.lstat().st_size for path in paths if path.exists())
