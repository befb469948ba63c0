"""What every request passes before gradio sees it: whose is it, may it, and is it of a size that can be served.

gradio hands the results of a session to whoever names the session, and a file of its upload folder to whoever names
its path, also as the input of a handler. Here a session, a call and a file belong to the browser that began or sent
them (`ui.owners`), and nobody else's request comes through. What the page does not need of gradio is closed.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fusion_ui.merging.preflight import format_bytes
from fusion_ui.settings import Settings
from fusion_ui.ui.messages import Refusal, answer, note_answer, read_body, replay
from fusion_ui.ui.owners import Owners
from fusion_ui.ui.quota import Quota

COOKIE = "fusion-ui-key"
API = "/gradio_api/"
PAGES = ("/", "/config", "/config/", f"{API}info", f"{API}info/")
"""Where a browser or a program begins, and gets its key."""
CLOSED = re.compile(
    f"/monitoring|{API}(proxy=|deep_link|component_server|process_recording|stream/|vibe-|undo-vibe-|dev/|run-history)"
)
CALLS = re.compile(f"{API}(queue/join|(run|api|call|call/v2)/[^/]+|cancel|reset)/?")
DIRECT = re.compile(f"{API}((run|api)/[^/]+|cancel|reset)/?")
FETCHED = re.compile(f"{API}call/(v2/)?[^/]+/(?P<call>[^/]+)/?")
HEARTBEAT = re.compile(f"{API}heartbeat/(?P<session>[^/]+)/?")
FILE = re.compile(f"{API}file[=/](?P<path>.*)", re.DOTALL)
_KEY = re.compile(r"[0-9a-f]{32}")
_ID = re.compile(r"[\w.:-]{1,100}")
MAX_VALUES, MAX_DEPTH = 100_000, 32
"""Values in one request, and how deep one may stand in others."""
MAX_WAITING = 32
"""Calls of one browser that wait in gradio's queue. People wait in `ui.line`, so hardly any do."""
NOT_YOURS = "This belongs to another visitor, or is not there any more. Load the page again."


class Gate:
    """ASGI middleware around gradio's application.

    Args:
        welcome: told the id of each session that its own visitor asks something for.
        farewell: told the id of each session that ends here: that of a call without a page, once it was answered.
        waiting: the session of each call that gradio has taken and not begun.
    """

    def __init__(
        self,
        app: ASGIApp,
        owners: Owners,
        quota: Quota,
        settings: Settings,
        uploads: Path,
        welcome: Callable[[str], None],
        farewell: Callable[[str], None],
        waiting: Callable[[], Iterable[str]],
    ) -> None:
        self.app, self.owners, self.quota = app, owners, quota
        self.settings, self.uploads = settings, uploads.resolve()
        self.welcome, self.farewell, self.waiting = welcome, farewell, waiting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it with a sentence."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        key = _read_key(scope)
        with ExitStack() as stack:
            try:
                receive, send = await self._admit(scope, receive, send, key, stack)
            except Refusal as refusal:
                await answer(send, refusal.status, str(refusal))
                return
            await self.app(scope, receive, send)

    async def _admit(
        self, scope: Scope, receive: Receive, send: Send, key: str, stack: ExitStack
    ) -> tuple[Receive, Send]:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=50)
        if CLOSED.match(path):
            raise Refusal(404, "There is nothing here.")
        if path in PAGES and scope["method"] == "GET" and not key:
            return receive, _give_key(scope, send)
        for session in [*query.get("session_hash", []), *_found(HEARTBEAT, path)]:
            self._check_session(session, key)
        if (found := FILE.fullmatch(path)) is not None:
            self._check_file(found["path"], key)
        elif path.startswith(f"{API}upload_progress"):
            self._check_upload(query, key)
        elif path.rstrip("/") == f"{API}upload":
            self._check_upload(query, key)
            counted = await asyncio.to_thread(self._count, scope, receive, key, stack)  # it looks through folders
            return counted, note_answer(send, lambda paths: self._add_files(paths, key))
        elif scope["method"] == "POST" and CALLS.fullmatch(path):
            body = await read_body(receive, self.settings.max_request_bytes)
            has_page = self._check_call(body, key)
            if not DIRECT.fullmatch(path):
                self._check_waiting(key)
            return replay(body, receive), note_answer(send, lambda answer: self._add_call(answer, key, has_page))
        elif scope["method"] == "GET":
            for call in _found(FETCHED, path):
                if self.owners.owner_of("call", call) != key:
                    raise Refusal(403, NOT_YOURS)
                if self.owners.owner_of("session", call) == key:
                    stack.callback(self.farewell, call)
        return receive, send

    def _check_session(self, session: object, key: str) -> None:
        if not isinstance(session, str) or not _ID.fullmatch(session):
            raise Refusal(400, "A session's id is a short word.")
        if self.owners.owner_of("session", session) is None:
            self._check_room(key)
        if not self.owners.claim("session", session, key):
            raise Refusal(403, NOT_YOURS)
        self.welcome(session)

    def _check_room(self, key: str) -> None:
        """For one more session of this key."""
        most, own = self.settings.max_tabs_per_visitor, len(self.owners.sessions_of(key))
        if key and own >= most:
            raise Refusal(503, f"You have {most} pages open here, and that is the most. Close one.")
        if not key and own >= max(most, self.settings.max_sessions // 4):
            raise Refusal(503, "Too many programs are here that keep no cookies. Keep the one that the page gives.")
        if self.owners.num_live() >= self.settings.max_sessions:
            raise Refusal(503, "More people are here than this machine can serve. Try again in a few minutes.")

    def _check_waiting(self, key: str) -> None:
        """gradio takes so many calls and then none, so nobody's may be all of them."""
        own = sum(self.owners.owner_of("session", session) == key for session in self.waiting())
        if own >= MAX_WAITING:
            raise Refusal(503, f"You have {own} requests waiting here, and that is the most. Wait for one to end.")

    def _check_upload(self, query: dict[str, list[str]], key: str) -> None:
        if not all(self.owners.claim("upload", name, key) for name in query.get("upload_id", [])):
            raise Refusal(403, NOT_YOURS)

    def _check_file(self, text: str, key: str) -> None:
        if "://" in text or "\x00" in text or text.startswith(("//", "\\\\")):
            raise Refusal(403, "Files of other places are not served here.")
        path = _resolve(text)
        if path.is_relative_to(self.uploads) and not self.owners.has_file(path, key):
            raise Refusal(403, NOT_YOURS)

    def _check_call(self, body: bytes, key: str) -> bool:
        """Refuse what is not allowed; True for a call of a page, whose session it names."""
        try:
            call = json.loads(body)
            paths = list(_paths(call))
        except (ValueError, RecursionError):
            raise Refusal(400, "A request is one JSON object of moderate depth.") from None
        if not isinstance(call, dict):
            raise Refusal(400, "A request is one JSON object of moderate depth.")
        if call.get("session_hash") is not None:
            self._check_session(call["session_hash"], key)
        for event in filter(None, (call.get("event_id"),)):
            if not isinstance(event, str) or self.owners.owner_of("call", event) not in (None, key):
                raise Refusal(403, NOT_YOURS)
        for path in paths:
            if not self.owners.has_file(_resolve(path), key):
                raise Refusal(403, "A file in this request was not uploaded by you, or is gone. Choose it again.")
        return call.get("session_hash") is not None

    def _count(self, scope: Scope, receive: Receive, key: str, stack: ExitStack) -> Receive:
        """Refuse an upload that is too much for its visitor or for the disk, before it begins or while it comes.

        While it comes, `stack` holds its place in what the visitor may bring.
        """
        said = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        told = int(said) if said.isdigit() else None
        most = self.settings.max_session_bytes
        room = stack.enter_context(self.quota.reserve(key, told or 1, most, 0 if told is not None else most))
        existing = next(parent for parent in (self.uploads, *self.uploads.parents) if parent.exists())
        free = shutil.disk_usage(existing).free - self.settings.min_free_bytes
        if (told or 0) > min(room, free):
            raise Refusal(413, _too_much(room, free))
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            # To what reads it, a visitor who sends more than there is room for has gone.
            return message if came <= min(room, free) else {"type": "http.disconnect"}

        return counted

    def _add_files(self, answer: Any, key: str) -> None:
        for path in answer if isinstance(answer, list) else []:
            self.owners.add_file(Path(path), key)

    def _add_call(self, answer: Any, key: str, has_page: bool) -> None:
        if isinstance(answer, dict) and isinstance(answer.get("event_id"), str):
            self.owners.claim("call", answer["event_id"], key)
            if not has_page:  # gradio makes it a session of its own
                self.owners.claim("session", answer["event_id"], key)


def _too_much(room: int, free: int) -> str:
    if free < room:
        return "The disk of this machine is too full for this file. Try again later, or bring a smaller one."
    return f"Of what one visitor may bring {format_bytes(max(room, 0))} are left. Bring a smaller file."


def _paths(call: Any) -> Iterator[str]:
    """Every file that a request names, wherever it stands in it."""
    waiting, num = [(call, 0)], 0
    while waiting:
        (value, depth), num = waiting.pop(), num + 1
        if num > MAX_VALUES or depth > MAX_DEPTH:
            raise ValueError("too many values")
        if isinstance(value, dict):
            if isinstance(value.get("path"), str):
                yield value["path"]
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]


def _resolve(text: str) -> Path:
    try:
        return Path(text).resolve()
    except (OSError, RuntimeError, ValueError):
        raise Refusal(403, NOT_YOURS) from None


def _found(pattern: re.Pattern[str], path: str) -> list[str]:
    found = pattern.fullmatch(path)
    return [found[1] if pattern.groups == 1 else found["call"]] if found else []


def _read_key(scope: Scope) -> str:
    """The key of the browser that asks; empty without one."""
    text = "; ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie")
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found and _KEY.fullmatch(found.value) else ""


def _give_key(scope: Scope, send: Send) -> Send:
    """Add a new key to the answer. In a frame of another site, as on a Space, it is kept apart for that site."""
    headers = dict(scope["headers"])
    is_https = b"https" in (scope.get("scheme", "").encode(), headers.get(b"x-forwarded-proto", b"").strip())
    places = "SameSite=None; Secure; Partitioned" if is_https else "SameSite=Lax"
    cookie = f"{COOKIE}={secrets.token_hex(16)}; Path=/; HttpOnly; {places}"

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), (b"set-cookie", cookie.encode())]}
        await send(message)

    return sending
