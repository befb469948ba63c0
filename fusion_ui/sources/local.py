"""Directories on this machine, named by text that may be anything."""

from __future__ import annotations

import os
from pathlib import Path


def is_directory(path: Path | str) -> bool:
    """True for an existing directory; False also for text that no file system accepts as a name."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises on a name that is too long
