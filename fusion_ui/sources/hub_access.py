"""Who asks the hub for what: whose token is sent, which names are accepted, and whose files lie in which cache.

The hub's client sends the token that is stored on this machine unless it is told not to. Here every call carries
either the visitor's own token or ``False``, so the owner's is never sent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from fusion_ui.errors import SourceError
from fusion_ui.sources.hub_client import prepare_client

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w.+/-]{0,199}", re.ASCII)
TOKEN = re.compile(r"[A-Za-z0-9_.=-]{1,512}", re.ASCII)


def is_repository_id(text: str) -> bool:
    """True for ``owner/name``, the only form in which a hub repository is accepted."""
    return bool(REPOSITORY.fullmatch(text)) and not any(part in text for part in ("..", "--")) and text[-1] not in ".-"


def check_repository_id(text: str) -> str:
    """Return `text` if it has the form ``owner/name``. Paths and single words (``private``, ``text``) do not.

    Raises:
        SourceError: it has another form.
    """
    if not is_repository_id(text):
        raise SourceError(
            f"{text[:80]!r} is not the name of a hub repository. Give it as owner/name, "
            "as it stands in the address of its page, for example distilbert/distilbert-base-uncased."
        )
    return text


def check_revision(text: str | None) -> str | None:
    """Return `text` if a branch, tag or commit can be called so; the client makes file names of it.

    Raises:
        SourceError: it cannot.
    """
    if text is not None and (not REVISION.fullmatch(text) or ".." in text):
        raise SourceError(f"{text[:80]!r} is not a revision. Give a branch, tag or commit, or leave it empty for main.")
    return text


def hub_endpoint() -> str:
    """Where the hub is: ``HF_ENDPOINT`` as it was when the hub's client was first imported."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def check_token(token: str | None) -> str | bool:
    """What the hub's client takes as a token: the visitor's, or False, which forbids the one stored on this machine.

    Raises:
        SourceError: it holds characters that no token has. They could also start a header of their own.
    """
    token = (token or "").strip()
    if not token:
        return False
    if not TOKEN.fullmatch(token):
        raise SourceError(
            "The hub token holds characters that no token has. "
            f"Copy it again from {hub_endpoint()}/settings/tokens, where it begins with hf_."
        )
    return token


def make_api(token: str | None) -> Any:
    """A client of the hub (`huggingface_hub.HfApi`) with the visitor's token or none."""
    from huggingface_hub import HfApi

    prepare_client()
    return HfApi(endpoint=hub_endpoint(), token=check_token(token))


BY_TOKEN = "by-token"
"""Of the hub's cache: what one token alone may read."""


_PRIVATE_HOME: ContextVar[Callable[[], Path] | None] = ContextVar("private_home", default=None)


@contextmanager
def keeping_private_in(home: Callable[[], Path]) -> Iterator[None]:
    """Inside, what a token alone may read is kept in the directory that `home` gives when there is something to keep:
    a visitor's own, with which it goes.
    """
    before = _PRIVATE_HOME.set(home)
    try:
        yield
    finally:
        _PRIVATE_HOME.reset(before)


def private_cache(token: str | None) -> Path | None:
    """The cache of gated and private files that were fetched with this token; None: the one that everybody shares.

    Whoever may not read a model at the hub must not get it here because somebody else could. The directory is named
    by a digest, from which a token of the hub's length cannot be found.
    """
    checked = check_token(token)
    if not isinstance(checked, str):
        return None
    home = _PRIVATE_HOME.get()
    return (
        (home() if home else shared_cache()) / BY_TOKEN / hashlib.sha256(b"fusion-ui " + checked.encode()).hexdigest()
    )


def shared_cache() -> Path:
    """Where public models lie, for everybody."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def is_behind_token(directory: Path) -> bool:
    """True if a model was fetched with somebody's token from where not everybody may read: gated, or private."""
    return BY_TOKEN in directory.parts
