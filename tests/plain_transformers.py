"""What somebody has who knows nothing of this project: transformers, torch and what these two need, and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

WANTED = ("torch", "transformers", "safetensors", "tokenizers")
LOAD = """
import importlib.util, json, sys
strangers = [name for name in ("fusion_ui", "gradio", "peft", "plotly") if importlib.util.find_spec(name)]
assert not strangers, f"{strangers} can be imported here"
from transformers import pipeline
classify = pipeline("text-classification", model=sys.argv[1])
print(json.dumps(classify(json.loads(sys.argv[2]), top_k=None)))
"""


def find_needed(wanted: tuple[str, ...]) -> set[str]:
    """Names of some packages and of all that they need on this machine."""
    found, left = set[str](), [*wanted]
    while left:
        name = left.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            required = distribution(name).requires or ()
        except PackageNotFoundError:  # of another system, or optional
            continue
        found.add(name)
        requirements = map(Requirement, required)
        left += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def write_environment(folder: Path, wanted: tuple[str, ...] = WANTED) -> None:
    """A directory of links to the packages, which is all that a process gets to import from."""
    folder.mkdir()
    for name in find_needed(wanted):
        for top in {file.parts[0] for file in distribution(name).files or ()} - {"..", "__pycache__"}:
            source = Path(str(distribution(name).locate_file(top)))
            if not (folder / top).exists():
                (folder / top).symlink_to(source)


def answer_elsewhere(model: Path, texts: list[str]) -> list[dict[str, float]]:
    """Label -> probability for each text, by plain transformers in a process that cannot import this project."""
    with tempfile.TemporaryDirectory() as place:
        write_environment(Path(place) / "packages")
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "OMP_NUM_THREADS") if name in os.environ}
        environment = kept | {"PYTHONPATH": str(Path(place) / "packages"), "HF_HUB_OFFLINE": "1"}
        # -S: nothing of what is installed beside this interpreter; -P: nothing of where it is started.
        command = [sys.executable, "-S", "-P", "-c", LOAD, str(model), json.dumps(texts)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, cwd=place)
    assert done.returncode == 0, done.stderr
    return [{a["label"]: a["score"] for a in answers} for answers in json.loads(done.stdout.splitlines()[-1])]
