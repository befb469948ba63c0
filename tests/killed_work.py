"""Work that writes to the disk, killed at random moments; after each, the disk is looked through and used again.

    python -m tests.killed_work FOLDER COUNT SEED

Prints a line of JSON: how often each step was killed, and every problem found. What is killed is forked, before torch
computes anything, so that fifty kills cost no fifty imports.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}

from safetensors import safe_open
from test_history import ME, Added, merge
from tiny_models import random_texts, write_data, write_experts

from fusion_ui.domains.loaders import load_domain
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.progress import Progress
from fusion_ui.results.store import HistoryStore
from fusion_ui.settings import Settings
from fusion_ui.sources.fetch import Source, fetch_bundle
from fusion_ui.sources.files import sha256_of
from fusion_ui.ui.janitor import tidy_cache
from fusion_ui.workspace import Workspace

MOST_SECONDS = 0.8
"""Until a step is killed; each takes a part of that."""
BUNDLE = {f"part{i}": random.Random(i).randbytes(200_000) for i in range(3)}


class Slow(Source):
    """Delivers in pieces."""

    @property
    def title(self) -> str:
        return "here"

    def deliver(self, names: Sequence[str], folder: Path, settings: Settings, progress: Progress) -> None:
        for name in names:
            with (folder / name).open("wb") as file:
                for start in range(0, len(BUNDLE[name]), 20_000):
                    file.write(BUNDLE[name][start : start + 20_000])
                    time.sleep(0.004)


class Place:
    """Where it all lies, and the steps that write there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.settings = folder, Settings(cache_dir=folder / "cache", num_threads=1)
        self.bundle, self.out = self.settings.downloads_dir / "bundle", folder / "out" / "merged"
        self.history = HistoryStore(self.settings.history_dir, self.settings.max_history_bytes, lambda: 1e9)

    def prepare(self) -> None:
        """Models, texts, and what an export without any kill comes to."""
        for i, model in enumerate(write_experts(self.folder / "models")):
            write_data(model.parent / f"d{i}.csv", 60, seed=i)
        self.export()
        (self.folder / "expected").write_text(sha256_of(self.out / "model.safetensors"))

    def recipe(self) -> MergeRecipe:
        models = self.folder / "models"
        experts = [
            {"name": f"d{i}", "model": str(models / f"expert{i}"), "calibration": {"data": str(models / f"d{i}.csv")}}
            for i in range(2)
        ]
        return parse_recipe({"method": "regmean", "experts": experts, "statistics": {"num_examples": 40}})

    def download(self) -> None:
        import hashlib

        shutil.rmtree(self.bundle, ignore_errors=True)
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in BUNDLE.items()}
        fetch_bundle(self.bundle, sums, [Slow()], self.settings, Progress())

    def measure(self) -> None:
        shutil.rmtree(self.settings.statistics_dir, ignore_errors=True)
        workspace = Workspace(self.settings)
        workspace.measure(workspace.plan(self.recipe()))

    def evaluate(self) -> None:
        shutil.rmtree(self.settings.results_dir, ignore_errors=True)
        workspace = Workspace(self.settings)
        plan = workspace.plan(self.recipe())
        domain = load_domain(self.folder / "models" / "d0.csv", "d0", "text", "label")
        list(workspace.evaluate([workspace.candidate(plan)], workspace.evaluation([domain], plan.experts[0]), []))

    def export(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        workspace = Workspace(self.settings)
        workspace.export(workspace.plan(self.recipe()), self.out)

    def remember(self) -> None:
        for text in random_texts(40, seed=time.time_ns() % 2**32):
            self.history.append(ME, [Added(merge(text, 1e9))])

    def look(self) -> list[str]:
        """What is torn, left behind, or not the same when it is asked for again."""
        tidy_cache(self.folder)
        problems = [f"left: {path.name}" for path in self.folder.rglob(".*") if path.suffix in (".part", ".old")]
        for path in self.folder.rglob("*.safetensors"):
            try:
                with safe_open(path, "pt") as file:
                    sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118 - no mapping
            except Exception as error:
                problems.append(f"torn: {path.relative_to(self.folder)}: {error}")
        for path in self.folder.rglob("*.json"):
            json.loads(path.read_bytes())
        if self.bundle.exists() and {p.name: p.read_bytes() for p in self.bundle.iterdir()} != BUNDLE:
            problems.append("torn: the download")
        expected = (self.folder / "expected").read_text()
        if self.out.exists() and sha256_of(self.out / "model.safetensors") != expected:
            problems.append("torn: the export")
        before = len(self.history.read(ME).merges)
        self.history.append(ME, [Added(merge("after", 1e9))])
        if "after" not in HistoryStore(self.settings.history_dir, 1 << 27, lambda: 1e9).read(ME).merges:
            problems.append(f"torn: the history with {before} merges")
        self.download()
        self.evaluate()
        self.export()
        if sha256_of(self.out / "model.safetensors") != expected:
            problems.append("the same request gave other bytes")
        return problems


def in_child(work: Callable[[], object]) -> int:
    """Run it in a fork; its process id."""
    number = os.fork()
    if number:
        return number
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(3)
    os._exit(0)


def main(folder: Path, count: int, seed: int) -> None:
    place, generator = Place(folder), random.Random(seed)
    steps = (place.download, place.measure, place.evaluate, place.export, place.remember)
    killed, problems = Counter[str](), []
    if os.waitpid(in_child(place.prepare), 0)[1]:
        raise SystemExit("the work fails without being killed")
    for i in range(count):
        step = steps[i % len(steps)]

        def repeat(step: Callable[[], None] = step) -> None:
            while True:
                step()

        number = in_child(repeat)
        time.sleep(generator.uniform(0.0, MOST_SECONDS))
        os.kill(number, signal.SIGKILL)
        if os.WIFEXITED(os.waitpid(number, 0)[1]):
            problems.append(f"{step.__name__} ended by itself")
        killed[step.__name__] += 1

        def look(step: Callable[[], None] = step) -> None:
            found = place.look()
            (folder / "found").write_text(json.dumps([f"after {step.__name__}: {problem}" for problem in found]))

        (folder / "found").unlink(missing_ok=True)
        if os.waitpid(in_child(look), 0)[1]:
            problems.append(f"after {step.__name__}: the disk could not be used")
        elif (folder / "found").exists():
            problems += json.loads((folder / "found").read_text())
    print(json.dumps({"killed": killed, "problems": problems}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
