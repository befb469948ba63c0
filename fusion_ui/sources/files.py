"""Files on this machine: checksums, and writes that are whole or absent."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from fusion_ui.progress import Progress
from fusion_ui.sources.storage import explaining_writes


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends without an error."""
    with explaining_writes(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=f".{process_name()}.part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)  # mkstemp makes it private; a cache file has the usual mode
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replace_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `path` that takes its place when the block ends without an error.

    An existing `path` is moved aside first and removed last, so at every instant either the old or the new
    directory is complete.
    """
    with explaining_writes(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=f".{process_name()}.part", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o755)
            old = temporary.with_suffix(".old")
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def hold_lock(path: Path, progress: Progress, message: str) -> Iterator[None]:
    """Hold the lock file `path` against other threads and processes; while waiting, report `message` and stop if asked.

    The lock is the operating system's, so a process that is killed does not leave it behind.
    """
    with explaining_writes(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    while True:
        try:
            lock.acquire(timeout=0.5)
            break
        except Timeout:
            progress.report(0.0, message)
    try:
        yield
    finally:
        lock.release()


def trim_directory(directory: Path, max_bytes: int, pattern: str = "*.safetensors") -> None:
    """Remove the files of a cache that were used longest ago until the rest takes at most `max_bytes`."""
    found = []
    for path in directory.glob(pattern):
        with suppress(FileNotFoundError):  # another process trims too
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= max_bytes:
            break
        path.unlink(missing_ok=True)
        total -= size


def mark_used(path: Path) -> None:
    """Tell `trim_directory` that a file is in use. A cache that cannot be written keeps its order."""
    with suppress(OSError):
        os.utime(path)


def process_name() -> str:
    """A name of this process that no other had or has: in a container every server gets the same number."""
    return f"{os.getpid()}-{_start_of(os.getpid())}"


def is_process_running(name: str) -> bool:
    """True if the process of that `process_name` runs; False for any other text."""
    number, _, started = name.partition("-")
    try:
        return f"{_start_of(int(number))}" == started
    except (ValueError, OverflowError, OSError, psutil.Error):
        return False


def _start_of(number: int) -> int:
    """When a process started: on Linux in clock ticks since the machine did, which no change of the clock moves."""
    if sys.platform == "linux":
        return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19])
    return round(psutil.Process(number).create_time())


def remove_leftovers(directory: Path) -> None:
    """Remove what killed runs left of `replace_file` and `replace_directory` directly inside `directory`."""
    for leftover in [*directory.glob(".*.part"), *directory.glob(".*.old")]:
        if is_process_running(leftover.name.split(".")[-2]):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
