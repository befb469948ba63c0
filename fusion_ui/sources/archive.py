"""A folder as one zip to be downloaded."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from fusion_ui.progress import Progress
from fusion_ui.sources.files import replace_file

CHUNK_BYTES = 8 << 20


def zip_directory(folder: Path, out: Path, progress: Progress) -> None:
    """Write the files of `folder` into the zip `out`, under the name of `out`, whole or not at all.

    Nothing is compressed: weights hardly shrink. The same files give the same bytes.

    Raises:
        StoppedError: the person stopped it.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    total, done = sum(path.stat().st_size for path in files), 0
    with replace_file(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            about = zipfile.ZipInfo((Path(out.stem) / path.relative_to(folder)).as_posix())
            about.external_attr = 0o644 << 16
            about.file_size = path.stat().st_size  # decides whether its entry has room for more than 4 GB
            with path.open("rb") as source, archive.open(about, "w") as target:
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)
                    done += len(chunk)
                    progress.report(
                        done / total if total else 1.0, f"Packing, {done / 1e6:.0f} of {total / 1e6:.0f} MB"
                    )


def free_bytes(folder: Path) -> int:
    """Bytes that can still be written where `folder` lies, or will lie."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
