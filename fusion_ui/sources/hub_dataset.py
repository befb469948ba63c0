"""The files of a hub dataset, each opened where it lies and read in parts, so that a few rows cost a few requests.

The library `datasets` is not used: it keeps the visitor's token in caches of the whole process, follows what a
dataset's card says to other servers, and reads many formats of which three are needed here.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusion_ui.errors import SourceError
from fusion_ui.sources.hub_access import (
    check_repository_id,
    check_revision,
    check_token,
    hub_endpoint,
    make_api,
)
from fusion_ui.sources.hub_client import TIMEOUT
from fusion_ui.sources.hub_errors import HubUnreachableError, ask_hub

BLOCK_BYTES = 1 << 18
"""Bytes of one request: some thousand sentences. Larger blocks would fetch what nobody reads."""

CONVERTED = "refs/convert/parquet"
"""The branch on which the hub keeps its own Parquet copy of a dataset, also of those that once needed a script."""


@dataclass(frozen=True)
class DatasetFiles:
    """The files of one commit of a dataset.

    Attributes:
        sizes: path -> bytes.
        open_file: opens a path for reading in binary, with seeking. It knows the visitor's token, so this is not kept.
    """

    repository: str
    commit: str
    sizes: Mapping[str, int] = field(repr=False)
    open_file: Callable[[str], io.BufferedReader] = field(repr=False)


def open_dataset(repository: str, revision: str | None = None, token: str | None = None) -> DatasetFiles:
    """List a dataset's files; from the cache's copy where the hub cannot be reached.

    Raises:
        SourceError: the name is not ``owner/name``.
        SourceUnavailableError: it does not exist, is private or gated, or neither the hub nor the cache has it.
    """
    check_repository_id(repository)
    check_revision(revision)
    try:
        return _open_remote(repository, revision, token)
    except HubUnreachableError:
        directory = _find_cached(repository, revision)
        if directory is None:
            raise
    sizes = {p.relative_to(directory).as_posix(): p.stat().st_size for p in directory.rglob("*") if p.is_file()}
    return DatasetFiles(repository, directory.name, sizes, lambda path: (directory / path).open("rb"))


def _open_remote(repository: str, revision: str | None, token: str | None) -> DatasetFiles:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    api, checked, what = make_api(token), check_token(token), f"dataset {repository}"
    has_token = checked is not False
    info = ask_hub(
        what, has_token, lambda: api.dataset_info(repository, revision=revision, files_metadata=True, timeout=TIMEOUT)
    )
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}

    def open_file(path: str) -> io.BufferedReader:
        if path not in sizes:
            raise SourceError(f"The dataset {repository} has no file {path[:80]!r}. Choose another split.")
        url = hf_hub_url(repository, path, repo_type="dataset", revision=info.sha, endpoint=hub_endpoint())
        remote = RemoteFile(url, sizes[path], build_hf_headers(token=checked), what, has_token)
        return io.BufferedReader(remote, BLOCK_BYTES)

    return DatasetFiles(repository, info.sha, sizes, open_file)


def _find_cached(repository: str, revision: str | None) -> Path | None:
    """The directory of a dataset that another program downloaded, as far as it did."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            repository, repo_type="dataset", revision=revision, local_files_only=True, token=False
        )
    except IncompleteSnapshotError as error:
        found = error.snapshot_path
    except LocalEntryNotFoundError:
        return None
    return Path(found)


class RemoteFile(io.RawIOBase):
    """A file on the hub, of which only the parts that are read are fetched.

    Args:
        url: pinned to a commit, so that all parts belong together.
        size: in bytes.
        headers: sent with every request.
        what: the dataset, as it begins a message.
    """

    def __init__(self, url: str, size: int, headers: Mapping[str, str], what: str, has_token: bool) -> None:
        super().__init__()
        self._url, self._size, self._headers = url, size, dict(headers)
        self._what, self._has_token, self._position = what, has_token, 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; nothing is fetched."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """The position of the next byte."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fetch as many bytes as `buffer` holds, or as are left."""
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        content = ask_hub(self._what, self._has_token, lambda: self._fetch(self._position, end))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def readall(self) -> bytes:
        """What is left, in one request: the inherited way asks for eight kilobytes at a time."""
        return self.read(max(0, self._size - self._position)) or b""

    def _fetch(self, start: int, end: int) -> bytes:
        from huggingface_hub.utils import hf_raise_for_status, http_backoff

        headers = self._headers | {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        response = http_backoff("GET", self._url, headers=headers, timeout=TIMEOUT, max_retries=2)
        hf_raise_for_status(response)
        content = response.content
        if len(content) != end - start:
            raise OSError(f"the server sent {len(content)} bytes where {end - start} were asked for")
        return content
