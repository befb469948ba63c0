"""Messages between a server and its application: a body read whole and given on, an answer looked at or made."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.types import Message, Receive, Send

from fusion_ui.merging.preflight import format_bytes

MAX_NOTED = 1 << 20
"""Bytes of an answer that names new files or calls."""


class Refusal(Exception):
    """An answer in gradio's place: a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


async def read_body(receive: Receive, most: int) -> bytes:
    """The whole body of a request.

    Raises:
        Refusal: it has more than `most` bytes, or ended early.
    """
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "The request ended before it was complete.")
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size <= most:
            parts.append(part)
        elif not more or size > 8 * most:  # who is cut off in the middle of a sentence does not read the answer
            raise Refusal(413, f"A request may have {format_bytes(most)}. Send files as uploads.")
    return b"".join(parts)


def replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, and then whatever comes."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Message:
        return left.pop() if left else await receive()

    return receiving


def note_answer(send: Send, note: Callable[[Any], None]) -> Send:
    """Let `note` see what is answered, if that is JSON of a moderate size, before the visitor does."""
    parts, size = [], 0

    async def sending(message: Message) -> None:
        nonlocal size
        if message["type"] == "http.response.body":
            size += len(message.get("body", b""))
            parts.append(message.get("body", b"") if size < MAX_NOTED else b"")
            if not message.get("more_body", False) and size < MAX_NOTED:
                with suppress(ValueError):  # an error page tells of nothing new
                    note(json.loads(b"".join(parts)))
        await send(message)

    return sending


async def answer(send: Send, status: int, sentence: str) -> None:
    """Answer with a sentence, as gradio's own errors are told."""
    body = json.dumps({"detail": sentence, "error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
