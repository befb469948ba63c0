"""A curve of 21 values of alpha over four domains of 300 sentences each, nothing of it known: first point, and stop.

Gram matrices are measured. As on the page, every value is first looked at on a few sentences.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from dataclasses import replace

from benchmarks.timing import report
from fusion_ui.errors import StoppedError
from fusion_ui.evaluation.candidates import Evaluation
from fusion_ui.evaluation.store import LogitsMemory
from fusion_ui.evaluation.stream import SECOND_CHUNK, encode_domain
from fusion_ui.execution import Job
from fusion_ui.progress import Progress
from fusion_ui.settings import read_settings
from fusion_ui.ui.comparison import project_evaluation
from fusion_ui.ui.curve_choice import CurveChoice
from fusion_ui.ui.request import default_request
from fusion_ui.workspace import Workspace

NUM_RUNS = int(os.environ.get("FUSION_UI_BENCH_RUNS", "5"))
NUM_SENTENCES, FIRST_LIMIT, STOP_LIMIT = 300, 10.0, 1.0


def main() -> None:
    print(f"\n21 values of alpha, 4 domains x {NUM_SENTENCES} sentences, nothing known")
    first, stopped = zip(*(_run() for _ in range(NUM_RUNS)), strict=True)
    report("asked for to the first point", [*first], FIRST_LIMIT)
    report("stopped to a free processor", [*stopped], STOP_LIMIT)


def _run() -> tuple[float, float]:
    """Seconds to the first point, and from the stop of another such sweep to its end."""
    workspace = Workspace(read_settings())  # which has prepared nothing yet
    project = workspace.prepare_demo()
    plan = workspace.plan(default_request(project).recipe(project, "regmean"))
    workspace.measure(plan)
    evaluation = _shorten(project_evaluation(workspace, project, "select"))
    values, in_domain = CurveChoice().values, [domain.name for domain in project.domains]
    assert len(values) == 21 and len(evaluation.domains) == 4

    def sweep(on: Evaluation, progress: Progress) -> Generator[object, None, None]:
        yield from workspace.sweep(plan, "alpha", values, on, in_domain, progress, SECOND_CHUNK)

    started = time.perf_counter()
    rows = sweep(evaluation, Progress())
    next(rows)
    first = time.perf_counter() - started
    rows.close()
    fresh = replace(evaluation, store=LogitsMemory())
    job = Job(lambda progress: list(sweep(fresh, progress)), workspace.turns.urgent_progress)
    time.sleep(2.0)
    started = time.perf_counter()
    job.stop()
    try:
        list(job.follow(0.01))
    except StoppedError:
        return first, time.perf_counter() - started
    raise AssertionError("the sweep was over before it was stopped")


def _shorten(evaluation: Evaluation) -> Evaluation:
    """Its first sentences, with a memory of their own."""
    domains = []
    for encoded in evaluation.domains:
        domain = encoded.domain
        part = replace(domain, texts=domain.texts[:NUM_SENTENCES], labels=domain.labels[:NUM_SENTENCES])
        domains.append(encode_domain(part, encoded.task, evaluation.tokenizer, evaluation.label_names))
    return replace(evaluation, domains=tuple(domains), store=LogitsMemory())


if __name__ == "__main__":
    main()
