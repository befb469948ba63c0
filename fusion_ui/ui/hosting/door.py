"""What every request passes first: it is counted, and while the server stops, nothing new is let in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fusion_ui.sources.storage import find_reason
from fusion_ui.ui.hosting.health import ServerState

STOPPING = "The server is being stopped. Load the page again in a moment."
KNOWN_METHODS = ("GET", "HEAD", "POST")

CountRequest = Callable[[str, int], None]
"""Told the method and the status of every request."""


class Door:
    """ASGI middleware around the page and everything beside it.

    Args:
        refusals: end of a path -> why nothing is sent there.
    """

    def __init__(
        self, app: ASGIApp, state: ServerState, count: CountRequest, refusals: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._app, self._state, self._count, self._refusals = app, state, count, refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 503 to what would begin something while the server stops; pass on everything else."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in KNOWN_METHODS else "other"  # a stranger may send any word

        is_answered = False

        async def send_counted(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.start":
                is_answered = True
                self._count(method, message["status"])
            await send(message)

        if self._state.is_stopping and method == "POST":
            refusal = JSONResponse({"detail": STOPPING}, 503, headers={"Retry-After": "10"})
            await refusal(scope, receive, send_counted)
            return
        end = scope["path"].rstrip("/").rpartition("/")[2]
        if method == "POST" and end in self._refusals:
            await JSONResponse({"detail": self._refusals[end]}, 403)(scope, receive, send_counted)
            return
        try:
            await self._app(scope, receive, send_counted)
        except OSError as error:  # most of all an upload that the disk has no room for
            reason = find_reason(error)
            if reason is None or is_answered:
                raise
            await JSONResponse({"detail": f"The server could not write: {reason}."}, 507)(scope, receive, send_counted)
