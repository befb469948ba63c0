"""As much of the hub's protocol as is used here: what it keeps, and what it answers to a request."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_uploads import answer_write

if TYPE_CHECKING:
    from hub_server import HubServer

HOLD_SECONDS = 120.0
"""After which a held answer goes on by itself."""


@dataclass(frozen=True)
class Request:
    """One request as it came, and how many bytes of body were sent in answer."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    sent: list[int] = field(default_factory=list)

    @property
    def token(self) -> str | None:
        """What stands behind Bearer; None where no token was sent."""
        return self.headers.get("authorization", "").removeprefix("Bearer ") or None

    @property
    def num_bytes(self) -> int:
        return sum(self.sent)


@dataclass
class Repository:
    """Its commits with their files, and who may read it."""

    kind: str
    name: str
    gated_token: str | None = None
    private_token: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    requests: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Pull request -> title and author."""

    def find(self, revision: str) -> str | None:
        """The commit of a branch, tag or commit."""
        return self.refs.get(revision, revision if revision in self.commits else None)


@dataclass(frozen=True)
class Hold:
    """An answer that stops in the middle until somebody lets it go on.

    Attributes:
        is_reached: set once half of the body was sent.
        is_released: to be set for the rest.
    """

    is_reached: threading.Event = field(default_factory=threading.Event)
    is_released: threading.Event = field(default_factory=threading.Event)

    def send_slowly(self, file: BufferedIOBase, body: bytes) -> None:
        with suppress(OSError):  # who asked was killed meanwhile, which is what this is for
            file.write(body[: len(body) // 2])
            file.flush()
            self.is_reached.set()
            self.is_released.wait(HOLD_SECONDS)
            file.write(body[len(body) // 2 :])


def make_handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    """The handler of every request to `hub`, which records them."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            hub.connections.add(self.connection)

        def finish(self) -> None:
            hub.connections.discard(self.connection)
            with suppress(OSError):  # reset on purpose
                super().finish()

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, unquote(address.path), parse_qs(address.query), headers)
            hub.requests.append(request)
            if hub.status is not None:
                return self.refuse(request, hub.status, "", "The hub is down")
            # Quoted, a revision such as refs/convert/parquet is one part.
            parts = [unquote(part) for part in address.path.strip("/").split("/")]
            if parts[:2] == ["api", "models"] and len(parts) == 2:
                return self.send_json(request, self.search(request))
            if parts[0] == "api" and parts[1] in ("models", "datasets") and len(parts) >= 4:
                return self.answer_about(request, parts[1], "/".join(parts[2:4]), parts[4:])
            kind = "datasets" if parts[0] == "datasets" else "models"
            parts = parts[1:] if kind == "datasets" else parts
            if len(parts) >= 5 and parts[2] == "resolve":
                return self.send_file(request, kind, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
            self.refuse(request, 404, "", "Not found")

        do_HEAD = do_GET

        def do_POST(self) -> None:
            address = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, unquote(address.path), parse_qs(address.query), headers)
            hub.requests.append(request)
            body = self.rfile.read(int(headers.get("content-length", 0)))
            if hub.status is not None:
                return self.refuse(request, hub.status, "", "The hub is down")
            answer_write(hub, self, request, body)

        do_PUT = do_POST

        def search(self, request: Request) -> list[dict[str, Any]]:
            word = request.query.get("search", [""])[0].lower()
            task = request.query.get("pipeline_tag", [None])[0]
            found = [
                {"_id": name, "id": name, "gated": "manual" if repository.gated_token else False, **repository.fields}
                for (kind, name), repository in hub.repositories.items()
                if kind == "models"
                and word in name.lower()
                and task in (None, repository.fields["pipeline_tag"])
                and repository.private_token in (None, request.token)
            ]
            found.sort(key=lambda item: -item["downloads"])
            return found[: int(request.query.get("limit", ["1000"])[0])]

        def answer_about(self, request: Request, kind: str, name: str, rest: list[str]) -> None:
            repository = self.find(request, kind, name)
            if repository is None:
                return
            if rest[:1] == ["discussions"]:
                return self.send_json(request, self.list_discussions(repository, request))
            revision = rest[1] if len(rest) > 1 else "main"
            commit = repository.find(revision)
            if commit is None:
                return self.refuse(request, 404, "RevisionNotFound", f"Invalid rev id: {revision}")
            files = repository.commits[commit]
            if rest[:1] == ["tree"]:
                return self.send_json(request, [_tree_entry(path, content) for path, content in files.items()])
            blobs = "blobs" in request.query
            siblings = [
                {"rfilename": path, **({"size": len(content), "blobId": _git_id(content)} if blobs else {})}
                for path, content in files.items()
            ]
            about = {"_id": name, "id": name, "sha": commit, "siblings": siblings, "tags": [], **repository.fields}
            about |= {"private": bool(repository.private_token), "gated": "manual" if repository.gated_token else False}
            self.send_json(request, about)

        def list_discussions(self, repository: Repository, request: Request) -> dict[str, Any]:
            shown = [
                {"num": num, "title": title, "isPullRequest": True, "status": "open", "pinned": False}
                | {"repo": {"name": repository.name, "type": "model"}}
                | {"author": {"name": author}, "createdAt": "2023-01-01T00:00:00.000Z"}
                for num, (title, author) in repository.requests.items()
                if request.query.get("author", [author]) == [author]
            ]
            return {"discussions": shown, "count": len(shown), "start": 0, "numClosedDiscussions": 0}

        def send_file(self, request: Request, kind: str, name: str, revision: str, path: str) -> None:
            repository = self.find(request, kind, name)
            if repository is None:
                return
            if repository.gated_token not in (None, request.token):
                message = f"Access to {kind} {name} is restricted."
                return self.refuse(request, 403 if request.token else 401, "GatedRepo", message)
            commit = repository.find(revision)
            if commit is None:
                return self.refuse(request, 404, "RevisionNotFound", f"Invalid rev id: {revision}")
            content = repository.commits[commit].get(path)
            if content is None:
                return self.refuse(request, 404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
            headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
            headers["Accept-Ranges"] = "bytes"
            start, end, status = 0, len(content), 200
            if "range" in request.headers:
                first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
                start, end, status = int(first), min(int(last or end) + bool(last), end), 206
                if start >= len(content):
                    return self.refuse(request, 416, "", "Range not satisfiable")
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
            cut = hub.cuts.pop(path, None) if self.command == "GET" else None
            is_held = self.command == "GET" and end - start == len(content)
            self.send(request, status, content[start:end], headers, cut, hub.holds.pop(path, None) if is_held else None)

        def find(self, request: Request, kind: str, name: str) -> Repository | None:
            repository = hub.repositories.get((kind, name))
            if repository and repository.private_token in (None, request.token):
                return repository
            # As the real hub: without a token, what is missing and what is private look the same.
            self.refuse(request, 404 if request.token else 401, "RepoNotFound", "Repository not found")
            return None

        def refuse(
            self, request: Request, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
        ) -> None:
            headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
            self.send(request, status, json.dumps({"error": message}).encode(), headers)

        def send_json(self, request: Request, value: Any) -> None:
            self.send(request, 200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def send(
            self,
            request: Request,
            status: int,
            body: bytes,
            headers: Mapping[str, str],
            cut: tuple[int, bool] | None = None,
            hold: Hold | None = None,
        ) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            part = body if cut is None else body[: cut[0]]
            request.sent.append(len(part))
            if hold is not None:
                hold.send_slowly(self.wfile, part)
                return
            self.wfile.write(part)
            if cut is not None:
                self.close_connection = True
                if cut[1]:  # close() then resets: there is nothing to linger for
                    time.sleep(0.3)  # a reset also throws away what has arrived and was not read yet
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()

        def log_message(self, *_: object) -> None: ...

    return Handler


def _tree_entry(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(content), "oid": _git_id(content)}


def _git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
