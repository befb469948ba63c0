"""Whether the server is well: for a container's health check, a load balancer, a person with curl."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse


@dataclass
class ServerState:
    """Where one server is in its life.

    Attributes:
        is_ready: the page can be opened.
        is_stopping: nothing new is begun.
    """

    is_ready: bool = False
    is_stopping: bool = False
    started: float = field(default_factory=time.monotonic)

    def describe(self) -> dict[str, Any]:
        """What ``/healthz`` answers; seconds by a clock that is never set."""
        status = "stopping" if self.is_stopping else "ready" if self.is_ready else "starting"
        return {
            "status": status,
            "is_ready": status == "ready",
            "version": read_version(),
            "uptime_seconds": round(time.monotonic() - self.started, 1),
        }

    async def answer(self, request: Request) -> JSONResponse:
        """200 while the page can be used, otherwise 503."""
        found = self.describe()
        return JSONResponse(found, 200 if found["is_ready"] else 503, headers={"Cache-Control": "no-store"})


def read_version() -> str:
    """The version of Fusion UI, or "source" where it runs from a copy that was not installed."""
    try:
        return version("fusion-ui")
    except PackageNotFoundError:
        return "source"
