"""A server on a port of its own that tests start, ask over HTTP as browsers do, and kill."""

from __future__ import annotations

import json
import os
import socket
import threading
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx

from tests.server_process import ROOT as ROOT
from tests.server_process import ServerProcess

OFFLINE = {"HF_ENDPOINT": "http://127.0.0.1:9", "FUSION_UI_CONNECT_TIMEOUT": "1"}
"""No hub: whoever asks for one is told so at once."""


class Server(ServerProcess):
    """`python -m MODULE FOLDER PORT`, whose output goes to FOLDER/log."""

    def __init__(self, folder: Path, module: str = "tests.tiny_demo") -> None:
        super().__init__(module, folder, folder / "log", os.environ | OFFLINE)
        self.folder, self.module = folder, module

    def start(self, seconds: float = 600.0, **environment: str) -> None:
        """Start it and wait until it is ready."""
        self.environment |= environment
        super().start(seconds)


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """The tiny demo, until the block ends; it fails where a handler had a bug."""
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
    assert "a handler failed" not in server.log, server.log[-6000:]


@dataclass(frozen=True)
class Fork:
    """A child that was forked, as far as `Server` needs a `Popen`."""

    pid: int

    def poll(self) -> int | None:
        """Its status once it has ended."""
        found, status = os.waitpid(self.pid, os.WNOHANG)
        return status if found else None

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has gone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float) -> None:
        """Until it has ended, as after SIGKILL it does at once."""
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


class ForkedServer(Server):
    """The same, forked from this process, so that starting it fifty times costs no fifty imports.

    This process must not have computed with torch, and has one thread whenever a server is started.
    """

    def start(self, seconds: float = 600.0, **environment: str) -> None:
        """Start it and wait until it answers."""
        module = import_module(self.module)
        for name in ("torch", "transformers.models.bert.modeling_bert", "fusion_ui.ui.serving"):
            import_module(name)
        if (number := os.fork()) == 0:
            try:
                os.environ |= OFFLINE | environment
                log = os.open(self.folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                for stream in (1, 2):
                    os.dup2(log, stream)
                module.main(self.folder, self.port)
            except BaseException:
                traceback.print_exc()
            os._exit(3)
        self.process = Fork(number)
        self._wait_until_it_answers(seconds)


class Visitor:
    """One browser with one page open: cookies, a session, calls by name or number, and the stream of their results."""

    def __init__(self, server: Server, session: str | None = None, has_cookies: bool = True) -> None:
        self.server, self.session = server, session or uuid.uuid4().hex
        self.http = httpx.Client(base_url=server.address, timeout=60)
        self.config = self.http.get("/config").json()
        if not has_cookies:
            self.http.cookies.clear()
        self.calls = {call["api_name"]: call for call in self.config["dependencies"] if call["api_name"]}

    def join(self, call: str | int, data: list[Any], **more: Any) -> httpx.Response:
        """Put a call into the queue."""
        number = call if isinstance(call, int) else self.calls[call]["id"]
        body = {"data": data, "fn_index": number, "session_hash": self.session} | more
        return self.http.post("/gradio_api/queue/join", json=body)

    def follow(self, seconds: float = 60.0) -> Iterator[dict[str, Any]]:
        """Messages of this session's calls until all are done."""
        query = {"session_hash": self.session}
        with self.http.stream("GET", "/gradio_api/queue/data", params=query, timeout=seconds) as stream:
            if stream.status_code != 200:
                raise AssertionError(f"{stream.status_code}: {stream.read().decode()}")
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    message = json.loads(line[5:])
                    if message["msg"] == "close_stream":
                        return
                    yield message

    def call(self, name: str | int, data: list[Any], seconds: float = 60.0) -> dict[str, Any]:
        """The last message of one call."""
        joined = self.join(name, data)
        assert joined.status_code == 200, joined.text
        event = joined.json()["event_id"]
        for message in self.follow(seconds):
            if message.get("event_id") == event and message["msg"] == "process_completed":
                return message
        raise AssertionError("the call did not end")

    def controls(self) -> list[Any]:
        """What the page's controls say at first: the inputs of `post`."""
        values = {part["id"]: part["props"].get("value") for part in self.config["components"]}
        return [values.get(number) for number in self.calls["post"]["inputs"]]

    def upload(self, name: str, content: bytes) -> httpx.Response:
        """Send a file as the page does."""
        return self.http.post("/gradio_api/upload", files={"files": (name, content)})

    def send(self, name: str, content: bytes) -> dict[str, Any]:
        """Upload a file; what a call names it by."""
        answer = self.upload(name, content)
        assert answer.status_code == 200, answer.text
        return {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def add_model(self, files: Mapping[str, bytes], seconds: float = 120.0) -> dict[str, Any]:
        """Upload files and add them as a model; what the page then says."""
        sent = [self.send(name, content) for name, content in files.items()]
        return self.call("add_model", [None, sent, "", "", False], seconds)["output"]["data"][-1]

    def add_data(self, name: str, content: bytes, dataset: str = "", seconds: float = 120.0) -> dict[str, Any]:
        """Upload a file and add it as a domain, or a hub data set that is named; what the page then says."""
        given = None if dataset else self.send(name, content)
        inputs = [given, dataset, None, None, "", "", "text", "", "label", "", None]
        return self.call("add_data", inputs, seconds)["output"]["data"][-1]


class Heart:
    """The connection that a page holds for as long as it is open, and that its closing ends at once."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor, self._connected, self._connection = visitor, threading.Event(), socket.socket()
        threading.Thread(target=self._beat, daemon=True).start()
        assert self._connected.wait(60), "the server took no heartbeat"

    def _beat(self) -> None:
        with (
            suppress(httpx.TransportError),  # that is its end
            self._visitor.http.stream("GET", f"/gradio_api/heartbeat/{self._visitor.session}", timeout=60) as stream,
        ):
            self._connection = stream.extensions["network_stream"].get_extra_info("socket")
            self._connected.set()
            for _ in stream.iter_raw():
                pass

    def stop(self) -> None:
        """As a browser ends it: closing a socket that somebody reads from would be told at the next beat only."""
        with suppress(OSError):  # it has ended already
            self._connection.shutdown(socket.SHUT_RDWR)
