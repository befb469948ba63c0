"""Models from the hub: resolved to a commit, read without anybody's token."""

from __future__ import annotations

import re
from pathlib import Path

from fusion_ui.errors import SourceUnavailableError

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
MODEL_FILES = ["*.safetensors", "*.safetensors.index.json", "config.json", "tokenizer*", "special_tokens_map.json"]
MODEL_FILES += ["vocab.*", "merges.txt", "*.model", "added_tokens.json"]


def is_repository_id(text: str) -> bool:
    """True for ``owner/name``, the only form in which a hub repository is accepted."""
    return bool(REPOSITORY.fullmatch(text)) and ".." not in text


def download_model(repository: str, revision: str | None) -> tuple[Path, str]:
    """Download a model's weights, config and tokenizer, or find them in the local cache.

    Returns:
        The local directory and the commit it holds.

    Raises:
        SourceUnavailableError: neither the hub nor the cache has it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        # Falls back to the cache by itself when the hub cannot be reached.
        path = snapshot_download(repository, revision=revision, allow_patterns=MODEL_FILES, token=False)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        at = f" at revision {revision}" if revision else ""
        raise SourceUnavailableError(
            f"The model {repository}{at} could not be had from the hub: {reason} "
            "Check the name and the network, or give a local directory."
        ) from None
    return Path(path), Path(path).name
