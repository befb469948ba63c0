"""A folder put on the hub as a model repository, with the visitor's token and no other."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from fusion_ui.errors import SourceError, SourceUnavailableError
from fusion_ui.progress import Progress
from fusion_ui.sources.hub_access import check_repository_id, check_token, hub_endpoint, make_api

Answer = TypeVar("Answer")
MARK = "merge_report.json"
"""A repository with this file holds a merge, over which a newer one may be put."""


def publish(
    folder: Path, repository: str, token: str, *, is_private: bool, replaced: Mapping[str, bytes], progress: Progress
) -> str:
    """Create the model repository, unless it is there, and put the files of `folder` into it by one commit.

    Args:
        token: the visitor's own, with the right to write; used for this call alone.
        is_private: who sees it; a repository that is there must be so already.
        replaced: path in the folder -> what is put there instead.
        progress: told the bytes; a stop ends the upload before anything of it can be seen.

    Returns:
        The address of the repository's page.

    Raises:
        SourceError: the name or token is wrong, or the repository holds something else.
        SourceUnavailableError: the hub refuses or cannot be reached.
        StoppedError: the person stopped it. A repository that was made for it stays, empty.
    """
    check_repository_id(repository)
    if check_token(token) is False:
        raise SourceError(f"Give a token with the right to write: {hub_endpoint()}/settings/tokens makes one.")
    api, what = make_api(token), f"model {repository}"
    progress.report(0.0, f"Making {repository} on the hub")
    _ask(what, progress, lambda: api.create_repo(repository, private=is_private, exist_ok=True))
    found = _ask(what, progress, lambda: api.model_info(repository))
    _check_target(repository, found, is_private)
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    _ask(what, progress, lambda: _commit(api, repository, files, replaced, progress))
    progress.report(1.0, f"{repository} is on the hub")
    return f"{hub_endpoint()}/{repository}"


def _check_target(repository: str, found: Any, is_private: bool) -> None:
    """Raise `SourceError` where pushing would show or overwrite what it should not."""
    files = {file.rfilename for file in found.siblings or ()} - {".gitattributes"}
    if bool(found.private) != is_private:
        now, wanted = ("private", "public") if found.private else ("public", "private")
        raise SourceError(
            f"{repository} exists already and is {now}, and was to be {wanted}. Choose {now}, or another name."
        )
    if files and MARK not in files:
        raise SourceError(f"{repository} holds other files, which would be overwritten. Choose another name.")


def _commit(
    api: Any, repository: str, files: Mapping[str, Path], replaced: Mapping[str, bytes], progress: Progress
) -> None:
    """Upload the weights one file after the other, then everything by one commit."""
    from huggingface_hub import CommitOperationAdd

    # Every byte is read twice: to be hashed and to be sent.
    total = 2 * sum(path.stat().st_size for path in files.values() if path.suffix == ".safetensors")
    done, operations = 0, []
    for name, path in files.items():
        if name in replaced or path.suffix != ".safetensors":
            operations.append(CommitOperationAdd(name, replaced.get(name) or path.read_bytes()))
            continue
        with _ReportingReader(path, progress, done, total) as reader:
            operation = CommitOperationAdd(name, reader)
            api.preupload_lfs_files(repository, [operation])
            done = reader.done
        operations.append(operation)
    progress.report(0.99, "Committing")
    api.create_commit(repository, operations, commit_message="A merge by Fusion UI")


class _ReportingReader(io.BufferedReader):
    """A file that tells how much of it was read, and whose reading ends when a stop is asked for.

    The hub's client has no other way to stop an upload. Given a file like this it uploads over plain HTTP.
    """

    def __init__(self, path: Path, progress: Progress, done: int, total: int) -> None:
        super().__init__(io.FileIO(path))
        self.done, self._progress, self._total = done, progress, total

    def read(self, size: int | None = -1, /) -> bytes:
        self._progress.report(
            0.98 * min(1.0, self.done / self._total),
            f"Uploading, {self.done / 2e6:.0f} of {self._total / 2e6:.0f} MB",
        )
        read = super().read(size)
        self.done += len(read)
        return read


def _ask(what: str, progress: Progress, question: Callable[[], Answer]) -> Answer:
    """The answer of a call of the hub's client that writes, or why there is none."""
    from httpx2 import HTTPError

    try:
        return question()
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        progress.check()  # the client wraps a stop that came while it was reading
        failure = _explain(error, what)
    # Raised out here, so that the hub's error, whose request holds the token, is not kept as its context.
    raise failure


def _explain(error: BaseException, what: str) -> SourceUnavailableError:
    from huggingface_hub.errors import HfHubHTTPError

    while not isinstance(error, HfHubHTTPError) and error.__cause__ is not None:
        error = error.__cause__
    settings = f"{hub_endpoint()}/settings/tokens"
    if not isinstance(error, HfHubHTTPError):
        return SourceUnavailableError(
            f"The {what} could not be pushed: the hub at {hub_endpoint()} cannot be reached or broke off "
            f"({type(error).__name__}). Try again; what was uploaded is not sent twice."
        )
    status = error.response.status_code
    if status == 401:
        return SourceUnavailableError(f"The hub does not accept the given token. Make a new one at {settings}.")
    if status in (403, 404):
        return SourceUnavailableError(
            f"The given token may not write the {what} (HTTP {status}). Check the owner's name, and that the token "
            f"has the right to write ({settings})."
        )
    if status == 429:
        return SourceUnavailableError("The hub has had too many requests from here. Wait five minutes and try again.")
    return SourceUnavailableError(f"The {what} could not be pushed: the hub refuses it (HTTP {status}). Try again.")
