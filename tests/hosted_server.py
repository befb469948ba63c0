"""The small demo in a server process of its own, set up as a test says."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request

from tests.server_process import MEASURED, OPENER, ServerProcess, share_cache


class HostedServer(ServerProcess):
    """The small demo, to be used in a ``with`` block. Its cache is its own, but for what is slow to make and only read.

    Args:
        changes: of the environment; None takes a variable away.
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1", **changes: str | None) -> None:
        self.cache = share_cache(folder / "cache", MEASURED)
        given = os.environ | {"FUSION_UI_CACHE_DIR": str(self.cache), "FUSION_UI_HOST": host, "HF_HUB_OFFLINE": "1"}
        environment = {name: value for name, value in (given | changes).items() if value is not None}
        super().__init__("tests.small_demo", folder / "data", folder / "log", environment, host)

    def __enter__(self) -> HostedServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and text; status 0 where nothing answers."""
        return self.send(Request(self.address + path, headers=headers))

    def post(self, path: str, value: Any) -> tuple[int, str]:
        body = json.dumps(value).encode()
        return self.send(Request(self.address + path, body, {"Content-Type": "application/json"}))

    def call(self, name: str, *values: Any, session: str = "a-visitor") -> tuple[int, str]:
        """Put an event of the page into the queue, named as its interface names it."""
        event = {"data": [*values], "fn_index": self.find_event(name), "session_hash": session, "trigger_id": None}
        return self.post("/gradio_api/queue/join", event)

    def find_event(self, name: str) -> int:
        config = json.loads(self.get("/config")[1])
        return next(event["id"] for event in config["dependencies"] if event["api_name"] == name)

    def send(self, request: Request) -> tuple[int, str]:
        try:
            with OPENER.open(request, timeout=30) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except (URLError, OSError):
            return 0, ""

    def jobs(self) -> list[dict[str, Any]]:
        """The log's lines about jobs, where the log is JSON."""
        lines = [line for line in self.log.splitlines() if line.startswith("{")]
        return [found for found in map(json.loads, lines) if found["event"] == "job"]

    def stop(self, seconds: float = 15) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0
