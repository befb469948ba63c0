"""Measuring the statistics of the demo's four experts on 256 sentences each: Gram matrices, and Fisher information."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.timing import report
from fusion_ui.merging.plan import measure_statistics
from fusion_ui.progress import Progress
from fusion_ui.settings import read_settings
from fusion_ui.ui.request import default_request
from fusion_ui.workspace import Workspace

NUM_RUNS = 10


def main() -> None:
    settings = read_settings()
    workspace = Workspace(settings)
    project = workspace.prepare_demo()
    print("\nStatistics of four experts x 256 sentences, nothing cached, model loading and writing included")
    for method, limit in (("regmean", 15.0), ("fisher", 90.0)):
        plan = workspace.plan(default_request(project).recipe(project, method))
        seconds = []
        for _ in range(NUM_RUNS + 1):
            with tempfile.TemporaryDirectory() as cache:
                empty = settings.model_copy(update={"cache_dir": Path(cache)})
                started = time.perf_counter()
                measure_statistics(plan, empty, Progress())
                seconds.append(time.perf_counter() - started)
        report({"regmean": "Gram matrices", "fisher": "Fisher information"}[method], seconds[1:], limit)


if __name__ == "__main__":
    main()
