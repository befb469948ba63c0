"""Inputs of sequence classifiers that are broken: each ends in a sentence that says what to fix."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_bert, write_model

from fusion_ui.domains.domain import Domain
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import DomainError, FusionError, IncompatibleError
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.settings import Settings
from fusion_ui.workspace import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(Settings(cache_dir=tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    several: Any = tiny_bert(0, labels=("anger", "joy", "fear"))
    several.config.problem_type = "multi_label_classification"
    numbers: Any = tiny_bert(0, labels=("valence", "arousal"))
    numbers.config.problem_type = "regression"
    write_model(folder / "one", tiny_bert(0, labels=("score",)))
    write_model(folder / "classes", tiny_bert(0))
    write_model(folder / "several", several)
    write_model(folder / "numbers", numbers)
    return folder


def evaluate(workspace: Workspace, models: Path, name: str, *labels: str, metric: str | None = None) -> None:
    texts = tuple(f"w{i}" for i in range(len(labels)))
    domain = Domain("news", "News", "report", texts, labels, metric=metric)
    from fusion_ui.checkpoints.checkpoint import Checkpoint

    workspace.evaluation([domain], Checkpoint(name, models / name, name))


@pytest.mark.parametrize(
    ("model", "labels", "message"),
    [
        ("one", ("3.5", "very similar"), r"'very similar' where a number is to be predicted \(example 2\)"),
        ("one", ("positive", "negative"), "'positive' where a number.*or a model of classes"),
        ("one", ("3.5", "nan"), "'nan' where a number"),
        ("one", ("1e999", "2"), "'1e999' where a number"),
        ("one", ("3,5", "2"), "'3,5' where a number.*such as 3.5"),
        ("numbers", ("1", "2"), "predicts 2 numbers for a text, and one can be scored"),
        ("classes", ("positive", "neutral"), "has the label 'neutral', which the model does not know.*Rename"),
        ("classes", ("0.25", "1.75", "2.5"), "look like a quantity to predict"),
        ("classes", ("positive\x1fnegative", "positive"), "which the model does not know"),
        ("several", ("joy, love", "fear"), "has the label 'love'.*stand between , ; or |"),
        ("several", ("joy / fear", "fear"), "has the label 'joy / fear'.*stand between , ; or |"),
        ("several", ("joy fear", "fear"), "has the label 'joy fear'.*a list"),
        ("several", ("7", "joy"), "has the label '7'"),
    ],
)
def test_labels_that_do_not_fit_the_model(
    model: str, labels: tuple[str, ...], message: str, workspace: Workspace, models: Path
):
    with pytest.raises(DomainError, match=message):
        evaluate(workspace, models, model, *labels)


@pytest.mark.parametrize(
    ("model", "labels", "metric"),
    [("one", ("1", "2"), "accuracy"), ("classes", ("positive",), "pearson"), ("several", ("joy",), "nonsense")],
)
def test_a_metric_that_the_task_does_not_have(
    model: str, labels: tuple[str, ...], metric: str, workspace: Workspace, models: Path
):
    with pytest.raises(DomainError, match=f"has no metric '{metric}'. Choose one of: "):
        evaluate(workspace, models, model, *labels, metric=metric)


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("write", "pair", "message"),
    [
        (
            lambda p: csv(p / "a.csv", "text,pair,label\nw1,,1\nw2, ,0\n"),
            "pair",
            "has no row.*without 'pair'",
        ),
        (lambda p: csv(p / "b.csv", "text,label\nw1,\nw2,\n"), None, "has no row.*without 'label'"),
        (lambda p: csv(p / "c.csv", "text,label\nw1,1\n"), "pair", "has no column 'pair'"),
        (
            lambda p: jsonl(p / "d.jsonl", {"text": "w1", "label": {"joy": 1}}),
            None,
            "has a dict in the column",
        ),
        (
            lambda p: jsonl(p / "e.jsonl", {"text": "w1", "label": [["joy"]]}),
            None,
            "has a list with more than texts and numbers in the column",
        ),
    ],
)
def test_files_without_labels_or_pairs(write: Callable[[Path], Path], pair: str | None, message: str, tmp_path: Path):
    with pytest.raises(DomainError, match=message):
        load_domain(write(tmp_path), "news", pair_column=pair)


def test_rows_with_one_empty_side_are_left_out_and_said(tmp_path: Path):
    path = csv(tmp_path / "a.csv", "text,pair,label\nw1,w2,1\nw2,,0\n,w3,0\n")
    found = load_domain(path, "news", pair_column="pair")
    assert found.pairs == ("w2",)
    assert found.notes[0] == "2 of 3 rows are left out: 1 without 'text', 1 without 'pair'."


def test_tasks_that_cannot_share_a_head(workspace: Workspace, models: Path):
    for one, other in (("one", "classes"), ("several", "classes"), ("one", "several")):
        experts = [{"name": name, "model": str(models / name)} for name in (one, other)]
        recipe = parse_recipe({"method": "simple_mean", "experts": experts, "heads": "union"})
        with pytest.raises(IncompatibleError, match=r"cannot share one head: the one is for .*Set 'heads' to 'own'"):
            workspace.plan(recipe)


def test_the_command_line_names_a_domain_that_is_not_there(models: Path, tmp_path: Path, capsys: Any):
    from fusion_ui.cli import main

    data = csv(tmp_path / "a.csv", "text,label\nw1,positive\n")
    for metric, message in (("films=macro_f1", "names 'films', which is no --data"), ("f1", "has no metric 'f1'")):
        with pytest.raises(SystemExit):
            main(["evaluate", str(models / "classes"), f"--data=news={data}", "--metric", metric])
        assert message in capsys.readouterr().err


def test_every_refusal_is_one_sentence_for_people(workspace: Workspace, models: Path):
    with pytest.raises(FusionError) as found:
        evaluate(workspace, models, "one", "nice")
    assert str(found.value).endswith(".") and "Traceback" not in str(found.value)
