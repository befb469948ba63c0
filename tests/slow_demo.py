"""The tiny demo, whose pairs take a while each, so that a page can be left in the middle of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tiny_demo

import fusion_ui.ui.experiments
from fusion_ui.progress import Progress

PAUSE_SECONDS = 2.0
run_pairs = fusion_ui.ui.experiments.run_pairs


def run_slowly(experiment: Any, progress: Progress) -> Iterator[Any]:
    """The pairs, with a pause after each in which they can be stopped."""
    for found in run_pairs(experiment, progress):
        yield found
        progress.report(0.5, "pausing")
        progress.pause(PAUSE_SECONDS)


if __name__ == "__main__":
    fusion_ui.ui.experiments.run_pairs = run_slowly
    tiny_demo.main(Path(sys.argv[1]), int(sys.argv[2]))
