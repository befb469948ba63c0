"""Models whose main branch has no safetensors: the hub's own converter keeps one in a pull request."""

from __future__ import annotations

from typing import Any

from fusion_ui.sources.hub_client import TIMEOUT
from fusion_ui.sources.hub_errors import ask_hub

CONVERTER = "SFconvertbot"
"""The hub's account that reads other formats where it does no harm and offers the same tensors as safetensors."""


def find_model(api: Any, repository: str, revision: str | None, has_token: bool) -> tuple[Any, str | None]:
    """What the hub says of a model (`huggingface_hub.ModelInfo`), and of which revision: main's, or the conversion's.

    Raises:
        SourceUnavailableError: the hub refuses, or does not have it.
    """
    what = f"model {repository}"

    def ask(of: str | None) -> Any:
        return ask_hub(
            what, has_token, lambda: api.model_info(repository, revision=of, files_metadata=True, timeout=TIMEOUT)
        )

    info = ask(revision)
    if revision is not None or has_safetensors(info):  # what a person asked for by name is never replaced
        return info, revision
    # Only that account is asked for: anybody can open a pull request that is titled like a conversion.
    found = ask_hub(
        what, has_token, lambda: list(api.get_repo_discussions(repository, author=CONVERTER, discussion_status="open"))
    )
    offers = [offer for offer in found if offer.is_pull_request and offer.author == CONVERTER]
    for offer in sorted(offers, key=lambda offer: offer.num):
        converted = ask(reference := f"refs/pr/{offer.num}")
        if has_safetensors(converted):
            return converted, reference
    return info, revision


def has_safetensors(info: Any) -> bool:
    """True if there are weights that can be read, beside others or not."""
    return any(f.rfilename.endswith(".safetensors") and "/" not in f.rfilename for f in info.siblings or ())
