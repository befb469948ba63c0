"""Twenty people on one server for ten minutes: errors, waiting, memory, and what is left when they have gone.

    python -m benchmarks.load [--visitors 20] [--seconds 600] [--server tests.small_demo]

The server takes its visitors for strangers, so what they bring is read and tried in child processes, whose memory
counts. Every visitor's alphas are its own; what the page must show for them is computed beforehand in this process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load.people import TITLE, Failure, Findings, Person
from fusion_ui.settings import Settings, read_settings
from tests.served import ROOT, Server

REST_SECONDS = 110.0
"""A minute after a visitor has left, files go, at the janitor's next round."""
KEPT = tuple(f"cache/{name}/" for name in ("results", "history", "statistics", "demo", "downloads"))
STRANGERS = {"FUSION_UI_ROOT_PATH": "/"}
"""As behind a proxy, where nobody is the person at this machine; reached from here alone."""
BUGS = ("a handler failed", "the janitor failed", "a request failed", "Traceback")
"""What the server's log never says."""


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.load")
    options.add_argument("--visitors", type=int, default=20)
    options.add_argument("--seconds", type=float, default=600.0)
    options.add_argument("--server", default="tests.small_demo", choices=("tests.small_demo", "tests.tiny_demo"))
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), given.visitors, given.seconds, given.server)


def run(folder: Path, visitors: int, seconds: float, module: str) -> None:
    expected, best = expect(folder, visitors, module)
    cache, temporary, server = folder / "cache", folder / "tmp", Server(folder, module)
    cache.mkdir(exist_ok=True)
    temporary.mkdir()
    if module.endswith("small_demo"):
        for name in ("demo", "downloads", "statistics"):
            (cache / name).symlink_to(read_settings().cache_dir / name)
    server.start(600, FUSION_UI_CACHE_DIR=str(cache), TMPDIR=str(temporary), **STRANGERS)
    model = write_tiny_model(folder / "brought")
    process, findings, memory = psutil.Process(server.process.pid), Findings(), []
    try:
        before = find_files(cache, temporary)
        end = time.monotonic() + seconds
        people = [Person(i, server, expected[i], best, findings, model) for i in range(visitors)]
        threads = [threading.Thread(target=person.live, args=(end,), daemon=True) for person in people]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and time.monotonic() < end + 300:
            if server.process.poll() is not None:
                raise SystemExit(f"MISSED: the server ended by itself, with code {server.process.poll()}.")
            memory.append(measure_memory(process) / 1e6)
            time.sleep(1.0)
        stuck = sum(thread.is_alive() for thread in threads)
        rested, files, processes = time.monotonic() + REST_SECONDS, before, list[str]()
        while time.monotonic() < rested:
            files, processes = find_files(cache, temporary) - before, find_processes(server.process.pid, temporary)
            if not files and not processes:
                break
            time.sleep(1.0)
        check_newcomer(Person(0, server, expected[0], best, findings, model))
        missed = report(findings, memory, visitors, best)
        print(f"Left behind: {len(files)} files, {len(processes)} processes, {stuck} people who still wait")
        missed += [f"left on the disk: {', '.join(sorted(files)[:10])}"] if files else []
        missed += [f"left running: {', '.join(processes)}"] if processes else []
        missed += [f"{stuck} people still wait"] if stuck else []
        missed += [f"the server's log has {word!r}" for word in BUGS if word in server.log]
    finally:
        children = process.children(recursive=True) if process.is_running() else []
        server.kill()
        for child in children:
            child.kill()
        for word in BUGS:
            if (at := server.log.find(word)) >= 0:
                print(server.log[max(0, at - 500) : at + 6000])
                break
    if missed:
        raise SystemExit("MISSED: " + "; ".join(missed) + ".")


def expect(folder: Path, visitors: int, module: str) -> tuple[list[dict[float, list[Any]]], float]:
    """For each visitor the alphas that only this one uses -> the row of the page's table, from this process alone.

    Returns:
        These, and the best alpha on select.
    """
    from fusion_ui.ui.comparison import compare
    from fusion_ui.ui.curve_choice import MAIN, CurveChoice
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
    plan = workspace.plan(start.recipe(project, MAIN[0]))
    select = handlers.evaluation(project, "select")
    search = workspace.find_best(plan, MAIN[1], sorted(CurveChoice().values), select, in_domain, report_split)
    while True:
        try:
            next(search)
        except StopIteration as end:
            return found, end.value.outcome.best


def find_files(cache: Path, temporary: Path) -> set[str]:
    """Files that could belong to a visit; results and histories are kept on purpose."""
    files = [path for path in [*cache.rglob("*"), *temporary.rglob("*")] if path.is_file()]
    names = {str(path.relative_to(cache.parent)) for path in files}
    return {name for name in names if not name.startswith(KEPT) and not name.endswith(".lock")}


def write_tiny_model(folder: Path) -> dict[str, bytes]:
    """The files of a model that visitors bring."""
    from tests.tiny_models import tiny_bert, write_model

    return {file.name: file.read_bytes() for file in write_model(folder, tiny_bert()).iterdir()}


def measure_memory(server: psutil.Process) -> int:
    """Bytes that the server and its children hold."""
    total = server.memory_info().rss
    for child in server.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            total += child.memory_info().rss
    return total


def find_processes(server: int, temporary: Path) -> list[str]:
    """Whatever the server has started and still runs, also what it is no longer the parent of."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != server and process.environ().get("TMPDIR") == str(temporary):
                found.append(" ".join(process.cmdline()))
    return found


def check_newcomer(person: Person) -> None:
    """Once all have gone, the server serves the next one, and rightly."""
    try:
        person.drag()
    except (AssertionError, Failure) as error:
        person.findings.count(person.findings.errors, f"a newcomer afterwards: {error}")
    finally:
        person.leave()


def report(findings: Findings, memory: list[float], visitors: int, best: float) -> list[str]:
    """Print what was found; the limits that were missed, as sentences."""
    missed = []
    print(f"\nDone: {dict(findings.done)}; {findings.num_checked} sets of numbers compared; best alpha {best:g}")
    print(f"Polite refusals: {dict(findings.refusals) or 'none'}")
    print(f"Errors: {dict(findings.errors) or 'none'}")
    for what, waited in (
        ("any own value", findings.first_bar + findings.new_bar),
        ("a value that was not merged before", findings.new_bar),
    ):
        if waited:
            p95 = sorted(waited)[min(len(waited) - 1, int(0.95 * len(waited)))]
            middle = statistics.median(waited)
            print(f"Release to first own bar, {what}: median {middle:.2f} s, p95 {p95:.2f} s (n = {len(waited)})")
    plateau = statistics.median(memory[2 * len(memory) // 5 : 3 * len(memory) // 5] or [0])
    last = statistics.median(memory[-max(1, len(memory) // 10) :] or [0])
    most = max(memory or [0])
    print(f"Memory of the server and its children: {plateau:.0f} MB at plateau, {most:.0f} MB at most, ", end="")
    print(f"{last:.0f} MB at the end; limit 110 %")
    if last > 1.1 * plateau:
        missed.append(f"memory at the end is {last / plateau:.0%} of the plateau")
    if findings.errors:
        missed.append(f"{sum(findings.errors.values())} errors")
    actions = "drag", "search", "upload", "stop", "close", "bring_model", "bring_data", "zip", "cancel"
    idle = [action for action in actions if not findings.done[action]]
    missed += [f"nobody's {action} came to its end" for action in idle]
    if findings.num_checked < visitors:
        missed.append(f"only {findings.num_checked} sets of numbers were compared for {visitors} visitors")
    return missed


if __name__ == "__main__":
    main()
