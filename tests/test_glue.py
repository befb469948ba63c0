"""The paper's GLUE setting, scaled down: experts of different tasks on one merged encoder, each under its own head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from glue_experts import LABELS, encode, make_rows, write_glue
from scipy.stats import pearsonr, spearmanr

from fusion_ui.cli import main
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import IncompatibleError
from fusion_ui.evaluation.references import ensemble_of, expert_candidates
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.settings import Settings
from fusion_ui.workspace import Workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glue")
    write_glue(folder)
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(Settings(cache_dir=tmp_path_factory.mktemp("cache")))


def make_recipe(folder: Path, method: str = "regmean", **change: Any) -> MergeRecipe:
    experts = [
        {
            "name": task,
            "model": str(folder / task),
            "calibration": {
                "data": str(folder / f"{task}_calibrate.csv"),
                "pair_column": None if task == "sst" else "pair",
            },
        }
        for task in LABELS
    ]
    return parse_recipe({"method": method, "experts": experts, "heads": "own"} | change)


def domains_of(folder: Path) -> list[Domain]:
    return [
        load_domain(folder / f"{task}_report.csv", task, pair_column=None if task == "sst" else "pair")
        for task in LABELS
    ]


def run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0


def score_plainly(model: Path, task: str) -> float:
    """The metric by transformers and scipy alone."""
    from transformers import AutoModelForSequenceClassification

    rows = make_rows(task, 60, seed=2)
    with torch.inference_mode():
        logits = AutoModelForSequenceClassification.from_pretrained(model)(**encode(model, rows)).logits
    if task == "stsb":
        return float(pearsonr(logits[:, 0].double(), [float(row[2]) for row in rows]).statistic)
    answers = [LABELS[task][i] for i in logits.argmax(-1).tolist()]
    return sum(answer == row[2] for answer, row in zip(answers, rows, strict=True)) / len(rows)


@pytest.mark.parametrize("method", ["regmean", "simple_mean", "fisher"])
def test_three_tasks_on_one_encoder_score_as_a_script_of_its_own_does(
    method: str, folder: Path, workspace: Workspace, tmp_path: Path
):
    plan = workspace.plan(make_recipe(folder, method))
    evaluation = workspace.evaluation_of(domains_of(folder), plan)
    assert [encoded.task.name for encoded in evaluation.domains] == ["sequence-classification"] * 2 + ["regression"]
    *_, found = workspace.evaluate([workspace.candidate(plan)], evaluation, [*LABELS])
    assert [score.metric for score in found.scores] == ["accuracy", "accuracy", "pearson"]
    workspace.export(plan, tmp_path / "out")
    for score in found.scores:
        expected = score_plainly(tmp_path / "out" / score.domain, score.domain)
        assert score.value == pytest.approx(expected, abs=1e-6), score.domain
        assert score.low <= score.value <= score.high
    assert found.scores[2].num_correct is None


def test_experts_learned_their_tasks_and_answer_no_other(folder: Path, workspace: Workspace):
    plan = workspace.plan(make_recipe(folder))
    evaluation = workspace.evaluation_of(domains_of(folder), plan)
    experts = expert_candidates(plan)
    rows = {row.candidate.name: row for row in workspace.evaluate([*experts.values()], evaluation, [])}
    own = {task: next(s for s in rows[f"expert {task}"].scores if s.domain == task) for task in LABELS}
    assert own["sst"].value > 0.8 and own["rte"].value > 0.6 and own["stsb"].value > 0.4
    for task, score in own.items():
        assert score.value == pytest.approx(score_plainly(folder / task, task), abs=1e-6)
    assert [s.domain for s in rows["expert stsb"].scores] == ["stsb"]
    assert [s.domain for s in rows["expert sst"].scores] == ["sst", "rte"]
    # The ensemble on a domain is that of the models of its task.
    *_, together = workspace.evaluate([ensemble_of([*experts.values()])], evaluation, [])
    assert together.scores[2].value == own["stsb"].value


def test_identical_experts_give_back_the_experts_own_metric(folder: Path, workspace: Workspace):
    recipe = make_recipe(folder, "simple_mean").model_dump(mode="json")
    recipe["experts"] = [{**recipe["experts"][2], "name": name} for name in ("stsb", "again")]
    plan = workspace.plan(parse_recipe(recipe))
    evaluation = workspace.evaluation_of(domains_of(folder)[2:], plan)
    *_, merged = workspace.evaluate([workspace.candidate(plan)], evaluation, [])
    *_, alone = workspace.evaluate([expert_candidates(plan)["stsb"]], evaluation, [])
    assert merged.scores[0].value == alone.scores[0].value


def test_different_tasks_are_refused_under_one_head(folder: Path, workspace: Workspace):
    for heads in (None, "union"):
        with pytest.raises(IncompatibleError, match=r"for text classification, the other for regression.*'own'"):
            workspace.plan(make_recipe(folder, heads=heads))


def test_the_command_line_scores_each_domain_by_its_own_metric(folder: Path, tmp_path: Path, capsys: Any):
    path = tmp_path / "recipe.json"
    recipe = make_recipe(folder, "simple_mean").model_dump(mode="json")
    recipe["experts"] = recipe["experts"][1:]
    path.write_text(json.dumps(recipe))
    data = [f"--data={task}={folder}/{task}_report.csv" for task in ("rte", "stsb")]
    ask = [*data, "--pair-column", "pair", "--json"]
    run("evaluate", str(path), *ask, "--metric", "stsb=spearman", "--metric", "rte=macro_f1")
    found = json.loads(capsys.readouterr().out)
    scores = found["scores"]
    assert [score["domain"] for score in found["chance"]["scores"]] == ["rte"], "a quantity has no chance level"
    assert [score["metric"] for score in scores] == ["macro_f1", "spearman"]
    run("merge", str(path), "--out", str(tmp_path / "out"))
    rows = make_rows("stsb", 60, seed=2)
    from transformers import AutoModelForSequenceClassification

    with torch.inference_mode():
        place = tmp_path / "out" / "stsb"
        logits = AutoModelForSequenceClassification.from_pretrained(place)(**encode(place, rows)).logits
    expected = spearmanr(logits[:, 0].numpy(), [float(row[2]) for row in rows]).statistic
    assert scores[1]["value"] == pytest.approx(float(expected), abs=1e-6)
