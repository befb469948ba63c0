"""The README's way to add a method, followed to the letter in a copy of the code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What a person writes: one file.
METHOD = '''"""Halfway between the mean and the first principle: every parameter shrunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.parameters import Range
from fusion_ui.solving.treatment import Treatment


@dataclass(frozen=True)
class Halfway(MergeMethod):
    """Shrink the mean of every parameter by a factor."""

    name: ClassVar = "halfway"
    title: ClassVar = "Halfway mean"
    paper: ClassVar = "https://example.org/halfway"
    formula: ClassVar = "W = s sum_i c_i W_i"
    color: ClassVar = "#123456"
    keeps_identical: ClassVar = False

    shrinkage: Annotated[float, Range(0, 1, label="Shrinkage of the mean", symbol="s", help="The factor.")] = 0.5

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        return self.shrinkage * slot.mean, Treatment("mean")
'''

READ_PAGE = """
import json, sys
from pathlib import Path
from fusion_ui.projects.project import Project
from fusion_ui.settings import read_settings
from fusion_ui.ui.app import build_app
from fusion_ui.workspace import Workspace
app = build_app(Workspace(read_settings()), Project("empty", "Empty", None, None, (), ()))
print(json.dumps([[c["type"], c["props"].get("label"), c["props"].get("choices")] for c in app.config["components"]]))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code with one more file, and the class in `METHODS`."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("fusion_ui", "tests", "assets"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "demo"))
    (root / "fusion_ui" / "methods" / "halfway.py").write_text(METHOD)
    listed = root / "fusion_ui" / "methods" / "__init__.py"
    text = listed.read_text()
    text = text.replace("\nMETHODS:", "\nfrom fusion_ui.methods.halfway import Halfway\n\nMETHODS:")
    head, found, tail = text.partition("METHODS: tuple[type[MergeMethod], ...] = (\n")
    assert found, "METHODS is no longer one explicit tuple"
    listed.write_text(head + found + "    Halfway,\n" + tail)
    return root


def run(copy: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(copy), "FUSION_UI_CACHE_DIR": str(copy / "cache")}
    command = [sys.executable, *arguments]
    result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout


def test_the_command_line_knows_it(copy: Path):
    described = {about["name"]: about for about in json.loads(run(copy, "-m", "fusion_ui", "methods", "--json"))}
    assert described["halfway"]["parameters"][0]["name"] == "shrinkage"
    assert "| `halfway` | Shrink the mean of every parameter by a factor. | weights alone |" in run(
        copy, "-m", "fusion_ui", "methods", "--markdown"
    )


def test_the_page_offers_it_with_its_control(copy: Path):
    components = json.loads(run(copy, "-c", READ_PAGE))
    assert any(["Halfway mean", "halfway"] in (choices or []) for _, label, choices in components if label == "Compare")
    assert ["slider", "Shrinkage of the mean", None] in components


def test_the_contract_is_run_over_it(copy: Path):
    arguments = ("tests/test_method_contract.py", "-k", "halfway", "-q", "-p", "no:cacheprovider", "-o", "addopts=")
    assert " passed" in run(copy, "-m", "pytest", *arguments)
