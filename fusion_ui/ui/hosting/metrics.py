"""Numbers about the server in Prometheus' text format: no names, no paths, nothing of any visitor."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from fusion_ui.job_log import EndedJob
from fusion_ui.settings import Settings

DISK_SECONDS = 30.0
"""How long the sizes of the caches are taken as known: adding them up reads every directory."""
BUCKETS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
CACHES = ("adapters", "datasets", "demo", "downloads", "history", "results", "sessions", "statistics", "uploads")
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


class Metrics:
    """Everything that is counted in one process.

    Args:
        gauges: name -> help and the number as it is now.
    """

    def __init__(self, settings: Settings, gauges: dict[str, tuple[str, Callable[[], float]]]) -> None:
        self._settings, self.registry = settings, CollectorRegistry()
        self._requests = Counter(
            "fusion_ui_requests", "HTTP requests answered.", ["method", "status"], registry=self.registry
        )
        self._jobs = Counter("fusion_ui_jobs", "Jobs that ended.", ["kind", "outcome"], registry=self.registry)
        self._seconds = Histogram(
            "fusion_ui_job_seconds", "Seconds a job took.", ["kind"], registry=self.registry, buckets=BUCKETS
        )
        self.registry.register(_Gauges(gauges))
        self.registry.register(_Disk(settings.cache_dir))

    def count_request(self, method: str, status: int) -> None:
        """One more request was answered."""
        self._requests.labels(method, f"{status // 100}xx").inc()

    def count_job(self, job: EndedJob) -> None:
        """One more job has ended."""
        self._jobs.labels(job.kind, job.outcome).inc()
        self._seconds.labels(job.kind).observe(job.seconds)

    async def answer(self, request: Request) -> Response:
        """The numbers, for whoever may read them; 404 where nobody may, 401 without the token."""
        token = self._settings.metrics_token
        if token is None:
            # A proxy on this machine reaches the loopback on behalf of anybody.
            is_direct = not any(name in request.headers for name in FORWARDED)
            if not (self._settings.is_for_one_person and is_direct):
                return PlainTextResponse("Set FUSION_UI_METRICS_TOKEN to have metrics here.\n", 404)
        elif not secrets.compare_digest(
            request.headers.get("authorization", "").encode(), f"Bearer {token.get_secret_value()}".encode()
        ):
            return PlainTextResponse("Send the metrics token.\n", 401, headers={"WWW-Authenticate": "Bearer"})
        text = await run_in_threadpool(generate_latest, self.registry)
        return Response(text, media_type=CONTENT_TYPE_PLAIN_1_0_0, headers={"Cache-Control": "no-store"})


class _Gauges(Collector):
    """Numbers that are read when they are asked for."""

    def __init__(self, gauges: dict[str, tuple[str, Callable[[], float]]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One family a gauge, and the memory of this process with its children."""
        for name, (about, read) in self._gauges.items():
            yield GaugeMetricFamily(f"fusion_ui_{name}", about, value=read())
        yield GaugeMetricFamily(
            "fusion_ui_memory_bytes", "Resident memory of the server and its children.", value=_read_memory()
        )


class _Disk(Collector):
    """Bytes of every cache."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: tuple[float, dict[str, int]] | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One number for each of the caches that Fusion UI itself named."""
        if self._known is None or time.monotonic() - self._known[0] > DISK_SECONDS:
            sizes = {name: _add_up(self._directory / name) for name in CACHES}
            self._known = time.monotonic(), sizes
        family = GaugeMetricFamily("fusion_ui_cache_bytes", "Bytes on disk, by cache.", labels=["cache"])
        for name, size in self._known[1].items():
            family.add_metric([name], size)
        yield family


def _add_up(directory: Path) -> int:
    """Bytes of all files below; what goes meanwhile does not count, and neither does what a link leads to."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                total += (Path(folder) / name).lstat().st_size
    return total


def _read_memory() -> int:
    """Bytes; shared pages count for every process that has them."""
    total = 0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # it ended just now
            total += process.memory_info().rss
    return total
