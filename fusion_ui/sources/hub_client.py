"""The HTTP client that all hub calls share, made to give up on silence and to resume after resets."""

from __future__ import annotations

from functools import cache
from typing import Any

TIMEOUT = 30.0
"""Seconds that the hub may stay silent before it counts as unreachable."""


@cache
def prepare_client() -> None:
    """Change, once in this process, two things that the client does by itself.

    It waits for ever on a server that accepts a connection and then says nothing. And it resumes a download after an
    orderly end in the middle of a file, but after a reset, which is how most cut connections look, it starts over.
    """
    from httpx2 import ReadError, RemoteProtocolError, Response, SyncByteStream
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    class ResumableStream(SyncByteStream):
        """The bytes of an answer; a reset is reported as the early end that the client resumes after."""

        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __iter__(self) -> Any:
            try:
                yield from self._stream
            except ReadError as error:
                raise RemoteProtocolError(f"the connection was reset: {error}") from None

        def close(self) -> None:
            self._stream.close()

    def make_resumable(response: Response) -> None:
        response.stream = ResumableStream(response.stream)

    def make_client() -> Any:
        client = default_client_factory()
        client.timeout = TIMEOUT
        client.event_hooks = client.event_hooks | {"response": [*client.event_hooks["response"], make_resumable]}
        return client

    set_client_factory(make_client)
