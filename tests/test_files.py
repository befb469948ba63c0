"""Files on this machine: whole or absent, locked against others, and caches that stay within their size."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from fusion_ui.errors import StoppedError
from fusion_ui.progress import Progress
from fusion_ui.sources.files import hold_lock, mark_used, replace_directory, replace_file, trim_directory


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "folder" / "file"
    with replace_file(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), replace_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_a_directory_is_replaced_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "model"
    for content in ("old", "new"):
        with replace_directory(path) as temporary:
            (temporary / "file").write_text(content)
    with pytest.raises(RuntimeError), replace_directory(path) as temporary:
        (temporary / "file").write_text("half")
        raise RuntimeError
    assert (path / "file").read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_cache_loses_what_was_used_longest_ago(tmp_path: Path):
    for age, name in enumerate("abcd"):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(b"x" * 100)
        os.utime(path, (1000 - age, 1000 - age))
    mark_used(tmp_path / "d.safetensors")
    trim_directory(tmp_path, 250)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "d"]
    trim_directory(tmp_path, 250)
    assert len(list(tmp_path.iterdir())) == 2


def test_who_waits_for_a_lock_says_so_and_can_be_stopped(tmp_path: Path):
    seen, outcome = threading.Event(), []
    progress = Progress(lambda _, message: seen.set() if message == "waiting" else None)

    def wait() -> None:
        try:
            with hold_lock(tmp_path / ".lock", progress, "waiting"):
                outcome.append("held")
        except StoppedError:
            outcome.append("stopped")

    with hold_lock(tmp_path / ".lock", Progress(), "waiting"):
        thread = threading.Thread(target=wait)
        thread.start()
        assert seen.wait(10)
        progress.stop()
        thread.join(10)
    assert outcome == ["stopped"]
    with hold_lock(tmp_path / ".lock", Progress(), "waiting"):  # free again
        pass
