"""Models from the hub to the local cache: pinned to a commit, safetensors alone, resumed, with progress in bytes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from typing import Any

from fusion_ui.errors import SourceUnavailableError
from fusion_ui.progress import Progress
from fusion_ui.sources.hub_access import (
    check_repository_id,
    check_revision,
    check_token,
    hub_endpoint,
    make_api,
    private_cache,
)
from fusion_ui.sources.hub_conversion import find_model
from fusion_ui.sources.hub_errors import HubUnreachableError, ask_hub

MODEL_FILES = ["*.safetensors", "*.safetensors.index.json", "config.json", "adapter_config.json", "tokenizer*"]
MODEL_FILES += ["special_tokens_map.json", "vocab.*", "merges.txt", "*.model", "added_tokens.json"]
MODEL_FILES += ["README.md"]  # says under which licence
SKIPPED_FILES = ["*/*", "*.py"]  # training snapshots and other formats in folders; code is never kept
MAX_ATTEMPTS = 3


def download_model(
    repository: str, revision: str | None, token: str | None = None, progress: Progress | None = None
) -> tuple[Path, str]:
    """Download a model's or an adapter's weights, config and tokenizer, or find them in the local cache.

    A connection that is cut is resumed where it broke; files that are complete are never fetched twice.

    Args:
        revision: branch, tag or commit; None: the main branch.
        token: the visitor's own, for gated and private models. Used for this call and not kept.
        progress: told the bytes; a stop ends the download at the next 10 MB.

    Returns:
        The local directory and the commit it holds.

    Raises:
        SourceError: the name is not ``owner/name``.
        SourceUnavailableError: neither the hub nor the cache has it, it is gated or private, or has no safetensors.
        StoppedError: the person stopped it; complete files stay in the cache.
    """
    check_repository_id(repository)
    check_revision(revision)
    progress = progress or Progress()
    progress.report(0.0, f"asking the hub for {repository}")
    try:
        path = _download(repository, revision, token, progress)
    except HubUnreachableError:
        path = find_cached_model(repository, revision, token)
        if path is None:
            raise
    os.utime(path.parents[1])  # the repository in the cache, of which the latest used stays
    progress.report(1.0, f"{repository} is here")
    return path, path.name


def find_cached_model(repository: str, revision: str | None, token: str | None = None) -> Path | None:
    """The directory of a model that was downloaded before, without asking the hub; None if it is not complete."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    caches: list[Path | None] = [private_cache(token), None] if check_token(token) else [None]
    revisions = [revision, *(_cached_conversions(repository, caches) if revision is None else ())]
    for cache_dir, name in product(caches, revisions):
        try:
            found = snapshot_download(
                repository,
                revision=name,
                allow_patterns=MODEL_FILES,
                ignore_patterns=SKIPPED_FILES,
                cache_dir=cache_dir,
                local_files_only=True,
                token=False,
            )
        except LocalEntryNotFoundError:
            continue
        if any(Path(found).glob("*.safetensors")):
            return Path(found)
    return None


def find_cached_card(repository: str, commit: str) -> Path | None:
    """The README.md that was downloaded with a commit of a public model."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "README.md", revision=commit)
    return Path(found) if isinstance(found, str) else None


def _cached_conversions(repository: str, caches: list[Path | None]) -> Iterator[str]:
    """Pull requests of the repository that were downloaded: their weights stand for a main branch without any."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    for cache_dir in caches:
        folder = Path(cache_dir or constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
        yield from (f"refs/pr/{file.name}" for file in sorted(folder.glob("refs/refs/pr/*")))


def _download(repository: str, revision: str | None, token: str | None, progress: Progress) -> Path:
    api, has_token, what = make_api(token), check_token(token) is not False, f"model {repository}"
    info, revision = find_model(api, repository, revision, has_token)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or () if _is_wanted(file.rfilename)}
    if not any(name.endswith(".safetensors") for name in sizes):
        raise SourceUnavailableError(
            f"The model {repository} has no .safetensors file, the only weights that are read: other formats can run "
            f"code. Choose a revision or a model that has one; {hub_endpoint()}/spaces/safetensors/convert makes one."
        )

    def fetch() -> str:
        return api.snapshot_download(
            repository,
            revision=revision,
            allow_patterns=MODEL_FILES,
            ignore_patterns=SKIPPED_FILES,
            cache_dir=private_cache(token) if info.gated or info.private else None,
            max_workers=4,
            tqdm_class=_bytes_reporter(progress, sum(sizes.values()), repository),
        )

    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            return Path(ask_hub(what, has_token, fetch))
        except HubUnreachableError:  # it answered a moment ago: most likely a cut connection
            if attempt == MAX_ATTEMPTS:
                raise
            progress.report(0.0, f"{repository}: the connection was cut, trying again")
    raise AssertionError("unreachable")


def _is_wanted(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in MODEL_FILES) and not any(
        fnmatch(name, pattern) for pattern in SKIPPED_FILES
    )


def _bytes_reporter(progress: Progress, total: int, repository: str) -> type[Any]:
    """A class in the place of tqdm's, through which the hub's client tells how many bytes of all files have arrived."""
    from tqdm import tqdm

    lock, arrived = threading.Lock(), 0

    class BytesReporter(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            # Three bars are made: bytes over the network, bytes on disk, and files. The second is the one to show.
            self._is_shown = str(options.get("desc", "")).startswith("Reconstructing")
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal arrived
            if not self._is_shown:
                progress.check()
                return
            with lock:  # the files are fetched by several threads, and a Progress is told by one at a time
                arrived += int(n or 0)
                share = arrived / total if total else 1.0
                progress.report(share, f"{repository}: {arrived / 1e6:.1f} of {total / 1e6:.1f} MB")

    return BytesReporter
