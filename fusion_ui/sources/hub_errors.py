"""What the hub's refusals and its silence mean, in plain words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fusion_ui.errors import SourceError, SourceUnavailableError
from fusion_ui.sources.hub_access import hub_endpoint

Answer = TypeVar("Answer")


class HubUnreachableError(SourceUnavailableError):
    """The hub did not answer, or answered that it is down; what is in the cache may still serve."""


def ask_hub(what: str, has_token: bool, question: Callable[[], Answer]) -> Answer:
    """Return the answer of `question`, a call of the hub's client.

    Args:
        what: kind and repository, ``model owner/name``; it begins the message.
        has_token: whether the visitor gave a token, which decides what there is to do.

    Raises:
        HubUnreachableError: no answer, or the hub is down.
        SourceUnavailableError: the hub refuses, or does not have it.
    """
    from httpx2 import HTTPError
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled, SafetensorsParsingError

    try:
        return question()
    except SafetensorsParsingError:
        failure: SourceError = SourceError(f"The {what} has a .safetensors file that cannot be read. Choose another.")
    except (HTTPError, OfflineModeIsEnabled, LocalEntryNotFoundError, OSError, ValueError) as error:
        failure = _explain(error, what, has_token)
    # Raised out here, so that the hub's error, whose request holds the token, is not kept as its context.
    raise failure


def _explain(error: BaseException, what: str, has_token: bool) -> SourceUnavailableError:
    from httpx2 import TransportError
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # the client wraps refusals in "not in the cache"
    if isinstance(error, HfHubHTTPError):
        return _explain_status(error, what, has_token)
    if isinstance(error, OfflineModeIsEnabled):
        reason = "HF_HUB_OFFLINE is set; unset it"
    elif isinstance(error, TransportError | LocalEntryNotFoundError):
        reason = f"the hub at {hub_endpoint()} cannot be reached ({type(error).__name__}); connect to a network"
    else:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        return SourceUnavailableError(f"The {what} could not be fetched from the hub: {reason}. Try again.")
    return HubUnreachableError(
        f"The {what} could not be had: {reason}, or use what has been downloaded before or lies on this machine."
    )


def _explain_status(error: Any, what: str, has_token: bool) -> SourceUnavailableError:
    """A sentence for one of the hub's refusals, from its HTTP status and error code alone."""
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RevisionNotFoundError

    kind, _, repository = what.partition(" ")
    status = error.response.status_code
    page = f"{hub_endpoint()}/{'datasets/' if kind == 'dataset' else ''}{repository}"
    settings = f"{hub_endpoint()}/settings/tokens"
    was_refused = kind == "list" or "invalid" in error.response.headers.get("X-Error-Message", "").lower()
    if status == 401 and has_token and was_refused:
        return SourceUnavailableError(f"The hub does not accept the given token. Make a new one at {settings}.")
    if isinstance(error, GatedRepoError):
        if has_token:
            todo = f"The given token has no access to it yet. Accept its licence at {page} with the token's account"
            return SourceUnavailableError(f"The {what} is gated. {todo}, wait until access is granted, and try again.")
        todo = f"Accept its licence at {page}, make a token with read access at {settings}, and give it here."
        return SourceUnavailableError(f"The {what} is gated. {todo}")
    if isinstance(error, RevisionNotFoundError):
        return SourceUnavailableError(f"The {what} has no such revision. Give a branch, tag or commit of {page}.")
    if isinstance(error, EntryNotFoundError):
        return SourceUnavailableError(f"The {what} lacks a file that it should have. Look at {page}/tree/main.")
    if status in (401, 403, 404):
        todo = f"give a token that may read it ({settings})"
        if has_token:
            todo = f"check that the given token is valid and may read it ({settings})"
        return SourceUnavailableError(
            f"The {what} does not exist or is private (HTTP {status}). Check the spelling; if it is private, {todo}."
        )
    if status == 429:
        return SourceUnavailableError("The hub has had too many requests from here. Wait five minutes and try again.")
    if status >= 500:
        return HubUnreachableError(f"The {what} could not be had: the hub is down (HTTP {status}). Try again later.")
    return SourceUnavailableError(f"The {what} could not be had: the hub refuses it (HTTP {status}). Look at {page}.")
