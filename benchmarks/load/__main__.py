"""Twenty people on one server for ten minutes: errors, waiting, memory, and what is left when they have gone.

    python -m benchmarks.load [--visitors 20] [--seconds 600] [--server tests.small_demo]

Every visitor's alphas are its own; what the page must show for them is computed beforehand in this process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load.people import TITLE, Findings, Person
from fusion_ui.settings import Settings, read_settings
from tests.served import ROOT, Server

REST_SECONDS = 110.0
"""A minute after a visitor has left, files go, at the janitor's next round."""


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.load")
    options.add_argument("--visitors", type=int, default=20)
    options.add_argument("--seconds", type=float, default=600.0)
    options.add_argument("--server", default="tests.small_demo", choices=("tests.small_demo", "tests.tiny_demo"))
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), given.visitors, given.seconds, given.server)


def run(folder: Path, visitors: int, seconds: float, module: str) -> None:
    expected = expect(folder, visitors, module)
    cache, server = folder / "cache", Server(folder, module)
    cache.mkdir(exist_ok=True)
    if module.endswith("small_demo"):
        for name in ("demo", "downloads", "statistics"):
            (cache / name).symlink_to(read_settings().cache_dir / name)
    server.start(600, FUSION_UI_CACHE_DIR=str(cache))
    process, findings, memory = psutil.Process(server.process.pid), Findings(), []
    try:
        files = count_files(cache)
        end = time.monotonic() + seconds
        people = [Person(i, server, expected[i], findings) for i in range(visitors)]
        threads = [threading.Thread(target=person.live, args=(end,), daemon=True) for person in people]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and time.monotonic() < end + 300:
            memory.append(process.memory_info().rss / 1e6)
            time.sleep(1.0)
        stuck = sum(thread.is_alive() for thread in threads)
        time.sleep(REST_SECONDS)
        left = count_files(cache) - files
        print([str(path) for path in (cache / "sessions").rglob("*") if path.is_file()][:20] if left else "")
        report(findings, memory, left, len(process.children(recursive=True)), stuck, "a handler failed" in server.log)
    finally:
        server.kill()
        if "a handler failed" in server.log:
            print(server.log[-4000:])


def expect(folder: Path, visitors: int, module: str) -> list[dict[float, list[Any]]]:
    """For each visitor the alphas that only this one uses -> the row of the page's table, from this process alone."""
    from fusion_ui.ui.comparison import compare
    from fusion_ui.ui.handlers import Handlers
    from fusion_ui.ui.render import render_numbers
    from fusion_ui.ui.request import default_request
    from fusion_ui.workspace import Workspace

    sys.path.insert(0, str(ROOT / "tests"))
    beside = folder / "beside"
    beside.mkdir()
    if module.endswith("small_demo"):
        from tests.small_demo import shrink

        for name in ("demo", "downloads", "statistics"):
            (beside / name).symlink_to(read_settings().cache_dir / name)
        workspace = Workspace(Settings(cache_dir=beside))
        project = shrink(workspace.prepare_demo(), folder / "texts")
    else:
        workspace = Workspace(Settings(cache_dir=beside))
        project = import_module("tiny_project").write_project(beside)
    handlers, start = Handlers(workspace, project), default_request(project)
    report_split = handlers.evaluation(project, "report")
    in_domain = tuple(expert.domain for expert in project.experts if expert.name in start.experts)
    values = [round(0.01 * i, 2) for i in range(100) if i != 90]
    found: list[dict[float, list[Any]]] = [{} for _ in range(visitors)]
    for i in range(min(len(values), 4 * visitors)):
        alpha = values[i * len(values) // min(len(values), 4 * visitors)]
        others = tuple(pair for pair in start.parameters if pair[0] != "regmean")
        own = dict(dict(start.parameters).get("regmean", ())) | {"alpha": alpha}
        request = replace(start, parameters=(("regmean", tuple(own.items())), *others))
        comparison = compare(workspace, project, request, report_split)
        rows = [*workspace.evaluate(comparison.candidates, report_split, in_domain)]
        shown = {row.candidate.name: row for row in rows}
        table = render_numbers(project, shown)
        (row,) = table[table["Model"] == TITLE.format(alpha)].to_numpy().tolist()
        found[i % visitors][alpha] = row
    return found


def count_files(cache: Path) -> int:
    """Files that belong to a visit; results and histories are kept on purpose."""
    return sum(path.is_file() for path in (cache / "sessions").rglob("*")) + len([*cache.rglob(".*.part")])


def report(findings: Findings, memory: list[float], left: int, children: int, stuck: int, has_bug: bool) -> None:
    print(f"\nDone: {dict(findings.done)}")
    print(f"Polite refusals: {dict(findings.refusals) or 'none'}")
    print(f"Errors: {dict(findings.errors) or 'none'}")
    waited = sorted(findings.first_bar)
    if waited:
        p95 = waited[min(len(waited) - 1, int(0.95 * len(waited)))]
        middle = statistics.median(waited)
        print(f"Release to first own bar: median {middle:.2f} s, p95 {p95:.2f} s (n = {len(waited)})")
    plateau = statistics.median(memory[2 * len(memory) // 5 : 3 * len(memory) // 5] or [0])
    last = statistics.median(memory[-max(1, len(memory) // 10) :])
    held = "held" if last <= 1.1 * plateau else "MISSED"
    print(f"Memory of the server: {plateau:.0f} MB at plateau, {last:.0f} MB at the end; limit 110 %: {held}")
    print(f"Left behind: {left} files, {children} processes, {stuck} people who still wait")
    if findings.errors or left > 0 or children or stuck or has_bug or held == "MISSED":
        raise SystemExit(1)


if __name__ == "__main__":
    main()
