"""On a ZeroGPU Space a child process computes with a GPU that is lent, and the server finds its numbers in caches."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from live_page import Server, open_browser, wait_until_up_to_date
from tiny_project import write_project

import fusion_ui.cli
from fusion_ui import devices
from fusion_ui.evaluation.candidates import Evaluation
from fusion_ui.projects.project import Project
from fusion_ui.settings import Settings
from fusion_ui.statistics import measure
from fusion_ui.statistics.statistic import StatisticKind
from fusion_ui.ui import zero_gpu
from fusion_ui.ui.comparison import compare, project_evaluation
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.rehearsing import Rehearsals
from fusion_ui.ui.request import default_request
from fusion_ui.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Space on which all happened that `zero_gpu_space` tries, while its server was busy."""
    folder = tmp_path_factory.mktemp("space")
    places = [str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    environment.pop("OMP_NUM_THREADS", None)
    command = [sys.executable, "-m", "tests.zero_gpu_space", str(folder)]
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert (folder / "found.json").is_file(), process.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def found(space: Path) -> dict[str, Any]:
    return json.loads((space / "found.json").read_text())


OF_THE_SERVER = ("Merging", "Waiting for a GPU", "Starting on the GPU", "Up to date")


def test_the_server_touches_no_cuda_whatever_torch_says_it_has(found: dict[str, Any]):
    assert found["spaces_first"] and found["page"]
    assert found["torch_says"] is True and found["device"] == "cpu"
    assert found["touched"] is False
    assert found["gradients"].startswith("Fisher information of d0 is measured on the GPU that this Space borrows")


def test_a_state_is_computed_in_a_child_and_found_by_the_server(found: dict[str, Any], space: Path, tmp_path: Path):
    first = found["first"]
    assert (first["lent"], first["given_back"], first["error"]) == (1, 1, "")
    assert first["computed_in_server"] == []
    assert first["statuses"][1] == "Waiting for a GPU" and first["statuses"][-1] == "Up to date"
    assert {*first["statuses"]} - {*OF_THE_SERVER}, "the child tells how far it is"
    assert found["duration"] == "20"
    # The same numbers, computed here and with nothing of the other's.
    project = write_project(tmp_path, 2)
    alone, left = (
        Workspace(Settings(cache_dir=place, num_threads=1)) for place in (tmp_path / "cache", space / "cache")
    )
    evaluation, kept = (project_evaluation(workspace, project, "report") for workspace in (alone, left))
    comparison = compare(alone, project, default_request(project), evaluation)
    rows = list(alone.evaluate(comparison.candidates, evaluation, comparison.in_domain))
    values = {row.candidate.name: [score.value for score in row.scores] for row in rows}
    assert values == found["values"] and len(values) == 5
    for candidate in comparison.candidates:
        if candidate.name != "ensemble":
            for name, logits in evaluation.recall(candidate.key).items():
                torch.testing.assert_close(kept.recall(candidate.key)[name], logits, rtol=1e-4, atol=1e-5)


def test_gradients_are_computed_in_a_child_of_a_server_that_is_busy(found: dict[str, Any]):
    mine = found["mine"]
    assert mine["error"] == "" and mine["statuses"][-1] == "Up to date"
    assert any(status.startswith("Fisher information") for status in mine["statuses"])
    assert mine["computed_in_server"] == []


@pytest.mark.parametrize("which", ["again", "restarted"])
def test_no_gpu_is_asked_for_where_all_numbers_are_known(found: dict[str, Any], which: str):
    statuses = found[which]["statuses"]
    assert (statuses[0], statuses[-1]) == ("Merging", "Up to date") and not {*OF_THE_SERVER[1:3]} & {*statuses}
    assert found[which]["lent"] == 1 and found["draws_known"]


def test_a_search_and_a_method_of_a_tab_ask_for_a_gpu_in_the_visitors_name(found: dict[str, Any]):
    search, method = found["search"], found["method"]
    assert (search["lent"], search["token"], search["durationSeconds"]) == (2, "me", "40")
    assert search["computed_in_server"] == [] and "on select" in search["lines"][-1]
    assert search["lines"][0] == "Waiting for a GPU" and len(search["lines"]) > 2
    assert found["curve"] == 21 and found["found"]["lent"] == 2
    assert (method["lent"], method["token"]) == (3, "me")
    assert method["children"] == 1, "one child may be asked several times"


def test_stopping_ends_the_child_at_its_next_step_and_gives_the_gpu_back(found: dict[str, Any]):
    stopped = found["stopped"]
    assert stopped["error"] == "" and stopped["statuses"][-1].startswith("Stopped.")
    assert stopped["given_back"] == stopped["lent"] and stopped["seconds"] < 30  # of 60


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        ("broken", "MergeError: The data file .* does not exist. Check the path."),
        ("odd", "MergeError: The process .* ended with ValueError: something odd. .*"),
        ("died", "BusyError: ZeroGPU: GPU task aborted. What was computed is kept. Try again later."),
        ("refused", "BusyError: ZeroGPU: No GPU was available. What was computed is kept. Try again later."),
    ],
)
def test_what_goes_wrong_in_the_child_or_with_the_platform_is_a_sentence(
    found: dict[str, Any], which: str, sentence: str
):
    assert re.fullmatch(sentence, found[which]["error"]), found[which]["error"]
    assert found[which]["statuses"][-1] in found[which]["error"]


def test_the_page_itself_borrows_a_gpu_in_the_visitors_name_and_ends_its_children(tmp_path: Path):
    with Server(tmp_path, module="tests.zero_gpu_demo") as server:
        calls = tmp_path / "data" / "calls.jsonl"
        assert [path for path, _ in map(json.loads, calls.read_text().splitlines())] == ["/startup-report"]
        with open_browser() as browser:
            page = browser.new_page(extra_http_headers={"X-IP-Token": "visitor"})
            page.goto(server.address)
            wait_until_up_to_date(page, 0.9)
        made = [(path, asked) for path, asked in map(json.loads, calls.read_text().splitlines())]
        assert [path for path, _ in made] == ["/startup-report", "/schedule", "/allow", "/release"]
        assert made[1][1]["token"] == "visitor"
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert len(children) == 1, "the platform keeps it for the next call"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert not psutil.wait_procs(children, 5)[1]


def test_elsewhere_nothing_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    settings = Settings(cache_dir=tmp_path)
    assert not settings.borrows_gpu and zero_gpu.compute is zero_gpu._compute
    project = write_project(tmp_path / "project", 2)
    handlers = Handlers(Workspace(settings), project)
    assert type(handlers.rehearsals) is Rehearsals and not handlers.rehearsals.is_due(project, default_request(project))
    assert devices.find_precisions() == (devices.name_precision(devices.find_device()),)
    assert handlers.evaluation(project, "report").taken_keys == ()


def test_the_cpu_can_be_asked_for_there_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert Settings(device="auto").borrows_gpu and Settings(device="cuda").borrows_gpu
    assert not Settings(device="cpu").borrows_gpu


def test_what_decorates_and_what_waits_agree_on_where_this_is(monkeypatch: pytest.MonkeyPatch):
    """A variable that says no is set, too; nothing may be decorated then."""
    monkeypatch.setitem(sys.modules, "spaces", None)  # importing it fails
    for said in ("0", "false", ""):
        monkeypatch.setenv("SPACES_ZERO_GPU", said)
        assert not Settings(device="cuda").borrows_gpu and zero_gpu._lend(zero_gpu._compute) is zero_gpu._compute


def test_numbers_that_are_taken_go_before_own_ones_and_own_ones_are_kept_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    project, workspace = write_project(tmp_path, 2), Workspace(Settings(cache_dir=tmp_path / "cache"))
    plain = project_evaluation(workspace, project, "report")
    lent = _evaluation_with(monkeypatch, (["cuda bfloat16"],), workspace, project)
    server = _evaluation_with(monkeypatch, (["cpu beside", "cuda bfloat16"], ["cuda bfloat16"]), workspace, project)
    assert len({plain.key, lent.key, server.key}) == 3 and server.taken_keys == (lent.key,)
    rows, few = {"d0": torch.zeros(30, 2), "d1": torch.zeros(30, 2)}, {"d0": torch.ones(8, 2)}
    server.remember("model", few)
    assert lent.recall("model") == plain.recall("model") == {}, "what the server computed is not the GPU's"
    assert torch.equal(server.recall("model")["d0"], few["d0"])
    lent.remember("model", rows)
    assert all(torch.equal(server.recall("model")[name], rows[name]) for name in rows)
    assert plain.recall("model") == {}
    server.remember("model", {name: part + 1 for name, part in rows.items()})
    assert all(torch.equal(server.recall("model")[name], rows[name]) for name in rows)


def test_a_statistic_of_a_lent_gpu_is_found_and_an_own_one_is_another_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    project, settings = write_project(tmp_path, 2), Settings(cache_dir=tmp_path / "cache")
    workspace = Workspace(settings)
    plan = workspace.plan(default_request(project).recipe(project, "regmean"))
    expert, text = plan.experts[0], plan.calibration[0]
    assert not isinstance(text, Path | None)
    asked = expert, text, StatisticKind.GRAM, plan.statistic_settings, settings
    server = (["cpu beside", "cuda bfloat16"], ["cuda bfloat16"])
    monkeypatch.setattr(measure, "find_precisions", lambda: server)
    measure.measure(*asked)
    own = measure.cached_path(*asked)
    assert own.is_file() and measure.is_cached(*asked)
    monkeypatch.setattr(measure, "find_precisions", lambda: server[1:])
    assert not measure.is_cached(*asked), "what the server measured is not the GPU's"
    measure.measure(*asked)
    lent = measure.cached_path(*asked)
    own.unlink()
    monkeypatch.setattr(measure, "find_precisions", lambda: server)
    assert measure.is_cached(*asked)
    measure.measure(*asked)
    assert lent.is_file() and not own.exists(), "it was measured again"


def _evaluation_with(
    monkeypatch: pytest.MonkeyPatch, precisions: tuple[list[str], ...], workspace: Workspace, project: Project
) -> Evaluation:
    monkeypatch.setattr("fusion_ui.evaluation.candidates.find_precisions", lambda: precisions)
    return project_evaluation(workspace, project, "report")


@pytest.mark.parametrize(("variables", "host"), [({"SPACE_ID": "me/page"}, "0.0.0.0"), ({}, None)])
def test_the_entry_of_a_space_is_open_to_the_platforms_proxy(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], host: str | None
):
    started: list[tuple[list[str], str | None]] = []
    monkeypatch.setattr(
        fusion_ui.cli, "main", lambda arguments: started.append((arguments, os.environ.get("FUSION_UI_HOST")))
    )
    monkeypatch.setenv("FUSION_UI_HOST", "")
    for name in ("SPACE_ID", "FUSION_UI_HOST", "SPACES_ZERO_GPU"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
    assert started == [(["serve"], host)]


def test_the_readme_says_what_such_a_space_needs():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.split("```yaml\n")[1].split("```")[0]
    front = yaml.safe_load(block)
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert front["sdk"] == "gradio" and f"gradio[oauth]=={front['sdk_version']} " in pins
    assert (ROOT / front["app_file"]).is_file()
