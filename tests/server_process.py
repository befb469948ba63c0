"""A page served by a process of its own, which tests start, ask whether it is ready, and kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from fusion_ui.settings import read_settings

ROOT = Path(__file__).resolve().parent.parent
OPENER = build_opener(ProxyHandler({}))
"""Asks without a proxy, whatever the environment names."""
PREPARED, MEASURED = ("demo", "downloads"), ("demo", "downloads", "statistics", "results")
"""Parts of this machine's cache: what was fetched, and with it what was computed."""


class Child(Protocol):
    """What is asked of a server's process, however it was made."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def send_signal(self, number: int, /) -> None: ...

    def wait(self, seconds: float, /) -> Any: ...


class ServerProcess:
    """`python -m MODULE DATA PORT` on a free port, which can be killed and started again.

    Args:
        data: the folder that the module is given.
        log_file: to which everything that it prints is added.
        environment: of the process, in the place of this one's.
    """

    def __init__(
        self,
        module: str,
        data: Path,
        log_file: Path,
        environment: Mapping[str, str] = os.environ,
        host: str = "127.0.0.1",
    ) -> None:
        self.host, self.port = host, free_port(host)
        self.address = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self.environment, self._log_file = dict(environment), log_file
        self._command = [sys.executable, "-m", module, str(data), str(self.port)]
        data.mkdir(parents=True, exist_ok=True)

    def start(self, seconds: float = 240.0) -> None:
        """Start it and wait until it is ready."""
        with self._log_file.open("a") as log:
            self.process: Child = subprocess.Popen(
                self._command, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._wait_until_it_answers(seconds)

    def _wait_until_it_answers(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._is_ready():
            assert self.process.poll() is None, self.log
            if time.monotonic() > end:
                self.kill()
                raise AssertionError(f"the server did not start in {seconds:g} s: {self.log}")
            time.sleep(0.1)

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._log_file.read_text()

    def kill(self) -> None:
        """As the machine would: at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def _is_ready(self) -> bool:
        try:
            with OPENER.open(f"{self.address}/healthz", timeout=5) as answer:
                return answer.status == 200
        except (URLError, OSError):
            return False


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nobody listens now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def share_cache(cache: Path, parts: Sequence[str]) -> Path:
    """The new directory `cache`, of which some parts are those of this machine's: slow to make, and only read."""
    cache.mkdir()
    for name in parts:
        (read_settings().cache_dir / name).mkdir(exist_ok=True)
        (cache / name).symlink_to(read_settings().cache_dir / name)
    return cache
