"""The shape of the code: one direction of imports, what works without what, and what has no place here."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch

import fusion_ui
from fusion_ui.solving.normal_equations import NormalEquations

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fusion_ui"
FILES = sorted(PACKAGE.rglob("*.py"))

ORDER = (
    "errors",
    "progress",
    "settings",
    "devices",
    "parameters",
    "sources",
    "child",
    "checkpoints",
    "domains",
    "tasks",
    "training",
    "statistics",
    "solving",
    "methods",
    "merging",
    "evaluation",
    "results",
    "plots",
    "projects",
    "execution",
    "job_log",
    "preparations",
    "workspace",
    "takeaway",
    "cli",
    "ui",
    "__main__",
)
"""A part may import itself and what stands above it."""

every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))


def part_of(module: str) -> str | None:
    """``fusion_ui.merging.plan`` -> ``merging``; None for the package itself and for others' modules."""
    names = module.split(".")
    return names[1] if names[0] == "fusion_ui" and len(names) > 1 else None


def imports_of(tree: ast.Module, module: str, is_package: bool) -> Iterator[tuple[ast.stmt, str]]:
    """Every imported module with its statement, wherever it stands in the file, also inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                above = module.split(".")[: len(module.split(".")) - node.level + is_package]
                start = ".".join([*above, start] if start else above)
            yield node, start
            if start == "fusion_ui":  # from fusion_ui import merging
                for alias in node.names:
                    if (PACKAGE / alias.name).is_dir() or (PACKAGE / f"{alias.name}.py").is_file():
                        yield node, f"fusion_ui.{alias.name}"


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_the_order_names_every_part():
    parts = {part_of(module_of(file)) for file in FILES} - {None}
    assert parts <= set(ORDER), "say where the new part stands, in DESIGN.md and here"


@every_file
def test_imports_point_in_one_direction_only(file: Path):
    module = module_of(file)
    part, tree = part_of(module), ast.parse(file.read_text(encoding="utf-8"))
    if part is None:  # the public API may show anything but the page and the command line
        allowed = set(ORDER) - {"cli", "ui", "__main__"}
    else:
        allowed = set(ORDER[: ORDER.index(part) + 1]) - ({"cli"} if part == "ui" else set())  # peers
    in_serve = {
        id(node)
        for function in ast.walk(tree)
        if part == "cli" and isinstance(function, ast.FunctionDef) and function.name == "serve"
        for node in ast.walk(function)
    }
    against = [
        f"line {node.lineno}: {imported}"
        for node, imported in imports_of(tree, module, file.name == "__init__.py")
        if (target := part_of(imported)) is not None
        and target not in allowed
        and not (target == "ui" and id(node) in in_serve)
    ]
    assert against == []


def run_without(blocked: list[str], code: str) -> None:
    """Run `code` in a process of its own in which the modules `blocked` cannot be imported."""
    block = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in blocked)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-c", block + code], capture_output=True, text=True, timeout=120, env=environment, cwd=ROOT
    )
    assert process.returncode == 0, process.stderr


def test_all_above_the_page_works_without_gradio():
    modules = [module_of(file) for file in FILES if part_of(module_of(file)) not in ("ui", "__main__")]
    run_without(["gradio", "gradio_client"], "import " + ", ".join(modules))


MERGE_WITHOUT_TRANSFORMERS = """
import pkgutil
import fusion_ui.methods, fusion_ui.solving, fusion_ui.merging.merge, fusion_ui.merging.slots
for package in (fusion_ui.methods, fusion_ui.solving):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        __import__(module.name)
import torch
from fusion_ui.methods import METHODS
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving.normal_equations import NormalEquations
equations = NormalEquations((torch.eye(2), torch.eye(2)), (3, 3), (0.5, 0.5))
experts = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
slot = ParameterSlot(
    "w", experts, (0.5, 0.5), experts[0], True,
    equations=equations, fishers=experts, fisher_norms=(1.0, 1.0), seeds=(0, 1),
)
for method in METHODS:
    assert method().merge_parameter(slot)[0].shape == (1, 2)
"""


def test_methods_and_merging_work_without_transformers():
    run_without(["transformers", "huggingface_hub", "tokenizers"], MERGE_WITHOUT_TRANSFORMERS)


def test_the_command_line_starts_without_loading_torch():
    # Help and refusals come at once; the seconds that torch takes are spent only where something is computed.
    run_without(["torch", "transformers", "gradio"], "import fusion_ui.cli")


def test_every_public_name_can_be_had_and_no_other():
    for name in fusion_ui.__all__:
        assert getattr(fusion_ui, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        fusion_ui.no_such_name  # noqa: B018


def test_shapes_are_checked_while_the_tests_run():
    # If the import hook were lost, all other tests would pass and check less.
    equations = NormalEquations((torch.eye(2),), (3,), (1.0,))
    with pytest.raises(jaxtyping.TypeCheckError):
        equations.right_sides(torch.ones(2, 2))
    with pytest.raises(jaxtyping.TypeCheckError):
        NormalEquations((torch.ones(2, 3),), (3,), (1.0,))


@every_file
def test_files_stay_short_and_say_what_they_hold(file: Path):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 300
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "a file begins with a sentence on what it holds"


@every_file
def test_names_say_what_a_thing_is(file: Path):
    empty = re.compile(r"(?<![a-z])(utils?|helpers?|commons?|managers?|misc)(?![a-z])")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    names = [node.name for node in ast.walk(tree) if isinstance(node, definitions)]
    names += [*file.relative_to(PACKAGE).parts]
    spread = [re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() for name in names]
    assert [name for name in spread if empty.search(name)] == []


@every_file
def test_no_foreign_code_is_run_and_no_error_is_swallowed(file: Path):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "weights_only"):
            safe = node.arg == "weights_only"
            assert isinstance(node.value, ast.Constant) and node.value.value is safe, f"line {node.value.lineno}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("pickle.load", "pickle.loads", "eval", "exec"):
            pytest.fail(f"line {node.lineno}: {ast.unparse(node.func)} runs what it reads")
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            is_empty = all(isinstance(s, ast.Pass | ast.Continue) or _is_remark(s) for s in node.body)
            is_broad = caught == "everything" or re.search(r"\b(Base)?Exception\b", caught) is not None
            assert not (is_broad and is_empty), f"line {node.lineno}: {caught} is swallowed"


def _is_remark(statement: ast.stmt) -> bool:
    """A bare string or ``...``."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
