"""Machines on which nothing can be written: said in a sentence, or gone around."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fusion_ui.errors import SettingsError, StorageError

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of its disk is used up",
    errno.EROFS: "its disk is read-only",
    errno.EIO: "its disk fails",
}
PROBE_BYTES = 1 << 20
"""Less free space than this does for nothing."""
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def find_reason(error: BaseException) -> str | None:
    """Why something could not be written, or None where that is not what the error is about."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (told := _OS_ERROR.search(str(error))):  # safetensors raises an error of its own
        number = int(told[1])
    return REASONS.get(number) if number is not None else None


@contextmanager
def explaining_writes(path: Path) -> Iterator[None]:
    """Inside, an error of writing `path` is raised as `StorageError`, which names no folder: strangers may read it."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        reason = find_reason(error)
        if isinstance(error, PermissionError) and not os.access(path.parent, os.W_OK):
            reason = "this account may not write there"
        if reason is None:
            raise
        raise StorageError(
            f"{path.name} could not be written: {reason}. Make room, or let the server write elsewhere with "
            "FUSION_UI_CACHE_DIR; what was there before is unchanged.",
            reason,
        ) from error


def check_writable(directory: Path) -> None:
    """Write a probe into a directory, made if it is not there, and remove it.

    Raises:
        SettingsError: nothing can be written there.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(bytes(PROBE_BYTES))
            probe.flush()
    except OSError as error:
        reason = find_reason(error) or error.strerror or str(error)
        raise SettingsError(
            f"The cache {directory} cannot be written: {reason}. Name another directory with FUSION_UI_CACHE_DIR, "
            "or make this one writable; about 2 GB are needed."
        ) from None


def ensure_temporary_directory(fallback: Path) -> None:
    """Where this machine has no directory for temporary files, use `fallback`, here and in child processes."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        fallback.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = os.environ["TMPDIR"] = str(fallback)
