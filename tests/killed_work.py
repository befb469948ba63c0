"""Work that writes to the disk, killed at random moments; after each, the disk is looked through and used again.

    python -m tests.killed_work FOLDER COUNT SEED

Prints a line of JSON: how often each step was killed, and every problem found. What is killed is forked, before torch
computes anything, so that fifty kills cost no fifty imports.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}

from safetensors import SafetensorError
from safetensors.torch import load_file
from test_history import ME, Added, merge
from tiny_models import write_data, write_experts

from fusion_ui.domains.loaders import load_domain
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.progress import Progress
from fusion_ui.results.store import HistoryStore
from fusion_ui.settings import Settings
from fusion_ui.sources.fetch import Source, fetch_bundle
from fusion_ui.sources.files import sha256_of
from fusion_ui.ui.janitor import tidy_cache
from fusion_ui.workspace import Workspace

FILES = "expected.json"
"""The files that are the same after every clean run, with their digests, and the seconds of each step."""
UNEQUAL = (".lock", "merge_report.json")
"""What tells seconds, which may happen to be the same twice."""
TOLD = "told"
"""What the history has taken, a line each."""
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

    @property
    def steps(self) -> dict[Callable[[], None], Path | None]:
        """What is killed -> what it makes, and is thrown away before it makes it again."""
        settings = self.settings
        return {
            self.download: self.bundle,
            self.measure: settings.statistics_dir,
            self.merge: settings.results_dir,
            self.export: self.out,
            self.remember: None,
        }

    def prepare(self) -> None:
        """Models, texts, what two runs without any kill come to, and how long each step takes."""
        for i, model in enumerate(write_experts(self.folder / "models")):
            write_data(model.parent / f"d{i}.csv", 60, seed=i)
        found, seconds = [], {}
        for _ in range(2):
            for step, made in self.steps.items():
                self.discard(made)
                began = time.perf_counter()
                step()
                seconds[step.__name__] = time.perf_counter() - began
            found.append(self.digests())
        same = {name: digest for name, digest in found[0].items() if found[1].get(name) == digest}
        (self.folder / FILES).write_text(json.dumps({"files": same, "seconds": seconds}))

    def digests(self) -> dict[str, str]:
        """Every file that was made here but the history -> the digest of its bytes."""
        places = (self.settings.downloads_dir, self.settings.statistics_dir, self.settings.results_dir, self.out)
        files = (path for place in places for path in place.rglob("*") if path.is_file() and path.name not in UNEQUAL)
        return {str(path.relative_to(self.folder)): self.digest(path) for path in files}

    def digest(self, path: Path) -> str:
        """Of a file's bytes; of a statistics file's tensors, beside which stands how long they took."""
        if self.settings.statistics_dir not in path.parents:
            return sha256_of(path)
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            return f"torn: {error}"
        parts = [(name, hashlib.sha256(tensors[name].numpy().tobytes()).hexdigest()) for name in sorted(tensors)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def discard(self, path: Path | None) -> None:
        """Away with it at once, so that a kill meanwhile leaves no half of it."""
        if path is not None and path.exists():
            (self.folder / "aside").mkdir(exist_ok=True)
            aside = Path(tempfile.mkdtemp(dir=self.folder / "aside"))
            os.replace(path, aside / path.name)
            shutil.rmtree(aside)

    def recipe(self) -> MergeRecipe:
        models = self.folder / "models"
        experts = [
            {"name": f"d{i}", "model": str(models / f"expert{i}"), "calibration": {"data": str(models / f"d{i}.csv")}}
            for i in range(2)
        ]
        return parse_recipe({"method": "regmean", "experts": experts, "statistics": {"num_examples": 40}})

    def download(self) -> None:
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in BUNDLE.items()}
        fetch_bundle(self.bundle, sums, [Slow()], self.settings, Progress())

    def measure(self) -> None:
        workspace = Workspace(self.settings)
        workspace.measure(workspace.plan(self.recipe()))

    def merge(self) -> None:
        workspace = Workspace(self.settings)
        plan = workspace.plan(self.recipe())
        domain = load_domain(self.folder / "models" / "d0.csv", "d0", "text", "label")
        list(workspace.evaluate([workspace.candidate(plan)], workspace.evaluation([domain], plan.experts[0]), []))

    def export(self) -> None:
        workspace = Workspace(self.settings)
        workspace.export(workspace.plan(self.recipe()), self.out)

    def remember(self) -> None:
        for text in (uuid.uuid4().hex for _ in range(40)):  # a merge that comes twice keeps its first place
            self.history.append(ME, [Added(merge(text, 1e9))])
            with (self.folder / TOLD).open("a") as file:
                file.write(text + "\n")

    def look(self) -> list[str]:
        """What is torn, left behind, lost, or not the same when it is asked for again."""
        shutil.rmtree(self.folder / "aside", ignore_errors=True)
        tidy_cache(self.folder)
        problems = [f"left: {path.name}" for path in self.folder.rglob(".*") if path.suffix in (".part", ".old")]
        expected = self.expected()["files"]
        problems += [f"torn: {name}" for name, digest in self.digests().items() if expected.get(name, digest) != digest]
        for path in self.folder.rglob("*.json"):
            json.loads(path.read_bytes())
        for place in filter(Path.exists, (self.bundle, self.out)):
            inside = (self.folder / name for name in expected if (self.folder / name).is_relative_to(place))
            problems += [f"torn: {place.name} has no {path.name}" for path in inside if not path.is_file()]
        problems += self.look_at_history()
        self.discard(self.out)
        for step in (self.download, self.merge, self.export):  # the same request, on whatever the kill has left
            step()
        made = self.digests()
        return problems + [f"other bytes: {name}" for name, digest in expected.items() if made.get(name) != digest]

    def expected(self) -> dict[str, Any]:
        """What `prepare` wrote."""
        return json.loads((self.folder / FILES).read_text())

    def look_at_history(self) -> list[str]:
        """What it had taken is there, and it takes more."""
        told = (self.folder / TOLD).read_text().splitlines() if (self.folder / TOLD).exists() else []
        merges = self.history.read(ME).merges
        problems = [f"lost: the merge {text!r}" for text in told[-40:] if text not in merges]
        self.history.append(ME, [Added(merge("after", 1e9))])
        if "after" not in HistoryStore(self.settings.history_dir, 1 << 27, lambda: 1e9).read(ME).merges:
            problems.append(f"torn: the history with {len(merges)} merges")
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
    killed, problems = Counter[str](), []
    if os.waitpid(in_child(place.prepare), 0)[1]:
        raise SystemExit("the work fails without being killed")
    expected = place.expected()
    for kind in ("bundle", "statistics", "results", "merged/model.safetensors"):
        if not any(kind in name for name in expected["files"]):
            raise SystemExit(f"nothing of {kind} is the same after two runs, so a kill could not be told from it")
    for i in range(count):
        step, made = [*place.steps.items()][i % len(place.steps)]

        def repeat(step: Callable[[], None] = step, made: Path | None = made) -> None:
            while True:
                place.discard(made)
                step()

        number = in_child(repeat)
        time.sleep(generator.uniform(0.0, 1.2 * max(0.05, expected["seconds"][step.__name__])))
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
