"""What every benchmark needs: repeated timings as median and range, and one way to print them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def time_runs(work: Callable[[], object], num_runs: int) -> list[float]:
    """Seconds of each of `num_runs` runs, after one that is not counted."""
    work()
    seconds = []
    for _ in range(num_runs):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return seconds


def describe(seconds: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(seconds):7.3f} s  ({min(seconds):.3f} to {max(seconds):.3f}, n = {len(seconds)})"


def report(what: str, seconds: list[float], limit: float | None = None) -> None:
    """Print one row: the claim, its median and range, and the limit it is held to."""
    verdict = ""
    if limit is not None:
        verdict = f"   limit {limit:g} s: {'held' if statistics.median(seconds) <= limit else 'MISSED'}"
    print(f"{what:<58} {describe(seconds)}{verdict}", flush=True)
