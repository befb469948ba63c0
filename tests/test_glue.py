"""The paper's GLUE setting, scaled down: experts of different tasks on one merged encoder, each under its own head."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from glue_experts import LABELS, encode, make_rows, write_glue, write_rows
from scipy.stats import pearsonr, spearmanr

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.cli import main
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import DomainError, FusionError, IncompatibleError
from fusion_ui.evaluation.answers import collect_logits
from fusion_ui.evaluation.combined import ensemble_of
from fusion_ui.evaluation.confusion import count_confusion
from fusion_ui.evaluation.experiments import Experiment
from fusion_ui.evaluation.flips import find_flips
from fusion_ui.evaluation.growth import run_growth
from fusion_ui.evaluation.pairs import run_pairs
from fusion_ui.evaluation.references import expert_candidates
from fusion_ui.evaluation.typed_text import Example, answer_examples
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.merging.subsets import pair_recipes, prefix_recipes
from fusion_ui.progress import Progress
from fusion_ui.projects.building import add_domain, add_expert, blank_project
from fusion_ui.projects.project import Project
from fusion_ui.results.difference import compare_merges
from fusion_ui.results.experiments import growth_row, growth_table, pair_row
from fusion_ui.results.history import RememberedMerge, remember_domains
from fusion_ui.settings import Settings
from fusion_ui.ui.comparison import project_evaluation
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.request import default_request
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
    assert [s.domain for s in rows["expert sst"].scores] == ["sst"], "it knows none of the labels of rte"
    assert [s.domain for s in rows["expert rte"].scores] == ["rte"]


def test_the_ensemble_on_a_domain_is_that_of_the_experts_who_know_its_labels(folder: Path, workspace: Workspace):
    plan = workspace.plan(make_recipe(folder))
    evaluation = workspace.evaluation_of(domains_of(folder), plan)
    experts = expert_candidates(plan)
    together = collect_logits(dict.fromkeys(LABELS, ensemble_of([*experts.values()])), evaluation, Progress())
    alone = collect_logits({task: experts[task] for task in LABELS}, evaluation, Progress())
    for encoded in evaluation.domains:
        task = encoded.domain.name
        assert encoded.label_names == LABELS[task]
        assert torch.equal(together[task], alone[task]), f"one expert alone knows {task}"
    # Text without an expert of its own is answered among the labels that it has.
    rte = replace(domains_of(folder)[1], name="elsewhere")
    (found,) = workspace.evaluation_of([rte], plan).domains
    assert found.label_names == LABELS["rte"]
    heard = [name for name, expert in experts.items() if expert.answers(found)]
    assert heard == ["rte"]


def test_heads_of_one_task_are_kept_apart_too(folder: Path, workspace: Workspace):
    recipe = make_recipe(folder, "simple_mean").model_dump(mode="json")
    plan = workspace.plan(parse_recipe(recipe | {"experts": recipe["experts"][:2]}))
    evaluation = workspace.evaluation_of(domains_of(folder)[:2], plan)
    experts = expert_candidates(plan)
    *_, together = workspace.evaluate([ensemble_of([*experts.values()])], evaluation, [])
    for score in together.scores:
        assert score.value == pytest.approx(score_plainly(folder / score.domain, score.domain), abs=1e-6)
    union = workspace.plan(parse_recipe(recipe | {"experts": recipe["experts"][:2], "heads": "union"}))
    (sst, _) = workspace.evaluation_of(domains_of(folder)[:2], union).domains
    assert sst.label_names == (*LABELS["sst"], *LABELS["rte"]), "one head chooses among all of its labels"


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


@pytest.fixture(scope="module")
def project(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same, put together as on the page."""
    found = replace(blank_project(), heads="own")
    for task in LABELS:
        found, _ = add_expert(found, task, Checkpoint(task, folder / task, task))
        rows = write_rows(folder / f"{task}_own.csv", make_rows(task, 100, seed=3))
        source = load_domain(rows, task, pair_column=None if task == "sst" else "pair")
        found, _ = add_domain(found, task, source, tmp_path_factory.mktemp("domains"))
    return found


def test_the_page_shows_each_domain_under_its_own_metric(project: Project, workspace: Workspace):
    handlers = Handlers(workspace, project)
    request = replace(default_request(project), references=("experts", "ensemble", "guesses"))

    def show(metric: str) -> tuple[Any, Any]:
        handlers.post(replace(request, metric=metric), "visitor")
        figure, _, _, numbers, status = list(handlers.run("visitor"))[-1]
        assert status["message"] == "Up to date"
        return figure, numbers

    figure, numbers = show("")
    assert list(numbers.columns)[1:4] == ["sst, Accuracy", "rte, Accuracy", "stsb, Pearson"]
    assert {"Chance", "Majority class"} <= {trace["name"] for trace in figure["data"]}
    assert [text.rpartition("<br>")[2] for text in figure["layout"]["xaxis"]["ticktext"]][2] == "Pearson"
    by_model = numbers.set_index("Model")
    assert by_model.loc["Chance", "sst, Accuracy"] == 50 and math.isnan(by_model.loc["Chance", "stsb, Pearson"])
    assert math.isnan(by_model.loc["Expert stsb", "sst, Accuracy"])
    _, numbers = show("macro_f1")
    assert list(numbers.columns)[1:4] == ["sst, Macro-F1", "rte, Macro-F1", "stsb, Pearson"]
    session = handlers.sessions.get("visitor")
    assert {s.metric for s in session.shown["regmean"].scores} == {"macro_f1", "pearson"}
    handlers.post(replace(request, metric="nonsense"), "visitor")
    assert "no metric 'nonsense'" in str(session.refusal)


def test_pairs_growth_flips_and_typed_text_take_different_tasks(project: Project, workspace: Workspace):
    request = default_request(project)
    recipe = request.recipe(project, "simple_mean")
    evaluation = project_evaluation(workspace, project, "report")
    everyone = workspace.plan(recipe)
    own = {task: task for task in LABELS}

    def experiment(recipes: Any) -> Experiment:
        merges = {names: workspace.candidate(workspace.plan(part)) for names, part in recipes.items()}
        return Experiment(merges, expert_candidates(everyone), own, evaluation)

    results = {result.experts: result for result in run_pairs(experiment(pair_recipes(recipe)))}
    change = results["sst", "stsb"].own
    assert change is not None and [score.domain for score in change.merged] == ["sst", "stsb"]
    assert change.alone[0][1] is None and change.alone[1][0] is None
    assert change.better == change.worse, "each domain has one expert of its task"
    assert json.dumps([result.describe() for result in results.values()])
    assert all(len(pair_row(result, "own")) == 4 for result in results.values())
    points = list(run_growth(experiment(prefix_recipes(recipe)), has_ensemble=True))
    assert [growth_row(point)[3:6].count("-") for point in points] == [2, 1, 0]
    growth_table(points)
    merge, experts = workspace.candidate(everyone), expert_candidates(everyone)
    answers = collect_logits(dict.fromkeys(LABELS, merge), evaluation, Progress())
    others = collect_logits({task: experts[task] for task in LABELS}, evaluation, Progress())
    assert [d.domain for d in find_flips(answers, others, evaluation).domains] == ["sst", "rte"]
    with pytest.raises(DomainError, match=r"regression.*never right or wrong"):
        find_flips({"stsb": answers["stsb"]}, {"stsb": others["stsb"]}, evaluation)
    with pytest.raises(DomainError, match="stsb is regression: its answers are not one label each"):
        count_confusion(answers["stsb"], evaluation.domains[2])
    typed = answer_examples([Example("w1 w2", "w3")], [merge, ensemble_of([*experts.values()])], evaluation, Progress())
    said = typed.describe()["examples"][0]["models"]
    numbers = [model for model in said if not model["probabilities"]]
    assert len(numbers) == 2 and all(math.isfinite(float(model["answer"])) for model in numbers)
    assert {model["answer"] for model in said if model["probabilities"]} <= {"low", "high", *LABELS["rte"]}


def test_a_search_over_a_correlation_drops_nothing(project: Project, workspace: Workspace):
    plan = workspace.plan(default_request(project).recipe(project, "regmean"))
    evaluation = project_evaluation(workspace, project, "select")
    search = workspace.find_best(plan, "alpha", [0.0, 0.5, 1.0], evaluation, [*LABELS])
    rows = []
    try:
        while True:
            rows.append(next(search))
    except StopIteration as end:
        outcome = end.value.outcome
    assert not any(row.is_dropped for row in rows)
    assert all(row.behind is None or row.behind.low <= row.behind.value <= row.behind.high for row in outcome.rows)


def test_a_history_without_right_answers_is_kept_and_says_what_it_cannot_compare(
    project: Project, workspace: Workspace
):
    evaluation = project_evaluation(workspace, project, "report")
    plan = workspace.plan(default_request(project).recipe(project, "simple_mean"))
    *_, row = workspace.evaluate([workspace.candidate(plan)], evaluation, [])
    sst, _, stsb = remember_domains(row, evaluation)
    assert len(sst.unpack()) == sst.score.num_examples and stsb.right == "" and stsb.score.metric == "pearson"
    about: Any = ("own", "Own", "Simple mean", "#000000", "simple_mean", {}, {})
    merges = [RememberedMerge(key, 0.0, *about, (stsb,)) for key in "ab"]
    with pytest.raises(FusionError, match="not with answers that are right or wrong"):
        compare_merges(*merges)
    both = [RememberedMerge(key, 0.0, *about, (sst, stsb)) for key in "ab"]
    assert [title for title, _ in compare_merges(*both).by_domain] == ["sst"]
