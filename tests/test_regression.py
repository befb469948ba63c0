"""Regression: correlations against scipy, intervals, Fisher information, and where no answer is right or wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy.stats import pearsonr, spearmanr
from test_multi_label import NO_TOKENIZER, fisher_by_hand
from tiny_models import random_texts, random_tokens, tiny_bert, write_model

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.compatibility import ModelHeader
from fusion_ui.domains.batches import EncodedText
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.loaders import load_domain
from fusion_ui.evaluation.paired import judge, metric_difference
from fusion_ui.evaluation.stream import EncodedDomain
from fusion_ui.merging.labels import name_outputs
from fusion_ui.merging.preflight import check_recipe
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.progress import Progress
from fusion_ui.projects.building import add_domain, add_expert, blank_project
from fusion_ui.projects.labels import explain_labels
from fusion_ui.settings import Settings
from fusion_ui.statistics.fisher import accumulate_fisher
from fusion_ui.tasks.correlation import PEARSON, SPEARMAN
from fusion_ui.tasks.metrics import NUM_RESAMPLES
from fusion_ui.tasks.regression import Regression
from fusion_ui.ui.comparison import project_evaluation
from fusion_ui.workspace import Workspace

numbers = st.integers(-20, 20).map(lambda value: value / 4)
samples = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=30)


@given(pairs=samples, shift=st.sampled_from([0.0, 1e4]))
def test_correlations_are_scipys(pairs: list[tuple[float, float]], shift: float):
    answers, targets = zip(*pairs, strict=True)
    assume(len(set(answers)) > 1 and len(set(targets)) > 1)
    rows = torch.tensor(answers, dtype=torch.float64)[:, None] + shift
    for metric, expected in ((PEARSON, pearsonr), (SPEARMAN, spearmanr)):
        score = metric.score(rows, targets)
        assert score.value == pytest.approx(float(expected(answers, targets).statistic), abs=1e-9)
        assert -1 <= score.low <= score.value <= score.high <= 1


def test_without_spread_the_correlation_is_zero():
    for metric in (PEARSON, SPEARMAN):
        assert metric.score(torch.full((9, 1), 0.1), [float(i) for i in range(9)]).value == 0
        assert metric.score(torch.arange(9.0)[:, None], [3.3] * 9).value == 0


def test_the_interval_is_that_of_a_bootstrap_made_one_sample_at_a_time():
    generator = np.random.default_rng(0)
    answers = generator.standard_normal(40)
    targets = answers + generator.standard_normal(40)
    score = PEARSON.score(torch.tensor(answers)[:, None], targets.tolist())
    drawn = torch.randint(40, (NUM_RESAMPLES, 40), generator=torch.Generator().manual_seed(0)).numpy()
    values = [pearsonr(answers[rows], targets[rows]).statistic for rows in drawn]
    assert (score.low, score.high) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-9)
    assert score.low < np.corrcoef(answers, targets)[0, 1] < score.high


def test_two_models_are_compared_on_the_same_resampled_examples():
    targets = [float(i % 7) for i in range(50)]
    domain = Domain("d", "D", "report", ("text",) * 50, ("0",) * 50)
    encoded = EncodedDomain(
        domain, (EncodedText((1,)),) * 50, tuple(targets), tuple(range(50)), Regression(), PEARSON, ("score",)
    )
    noise = torch.randn(50, generator=torch.Generator().manual_seed(1))
    good, bad = (torch.tensor(targets)[:, None] + scale * noise[:, None] for scale in (0.5, 3.0))
    found = metric_difference([judge(encoded, good)], [judge(encoded, bad)])
    expected = PEARSON.score(good, targets).value - PEARSON.score(bad, targets).value
    assert found.value == pytest.approx(expected) and 0 < found.low < found.value < found.high
    same = metric_difference([judge(encoded, good)], [judge(encoded, good)])
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_the_fisher_information_is_the_squared_gradient_of_the_output():
    model, texts = tiny_bert(0, labels=("score",)), [EncodedText(ids) for ids in random_tokens(3)]
    found = accumulate_fisher(Regression(), model, texts, Progress())
    expected = fisher_by_hand(model, texts, lambda logits: [(logits[0], 1.0)])
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-7, msg=name)


def test_an_answer_is_a_number_without_a_probability():
    task = Regression()
    (answer,) = task.read_answers(torch.tensor([[3.14159]]), ("score",), NO_TOKENIZER)
    assert answer.label == "3.142" and math.isnan(answer.probability)
    assert torch.equal(task.combine([torch.tensor([[1.0]]), torch.tensor([[4.0]])]), torch.tensor([[2.5]]))


@pytest.mark.parametrize("names", [("similarity", "grade"), ("LABEL_0", "grade"), ("LABEL_0", "LABEL_0")])
def test_what_experts_call_their_only_output_keeps_no_merge_from_being_made(
    names: tuple[str, str], settings: Settings, tmp_path: Path
):
    models = [write_model(tmp_path / f"m{i}", tiny_bert(i, labels=(name,))) for i, name in enumerate(names)]
    texts = random_texts(40, 1)
    rows = [f"{text},{len(text)}.5" for text in texts]
    for file in ("a.csv", "b.csv"):
        (tmp_path / file).write_text("\n".join(["text,label", *rows]))
    data = [tmp_path / "a.csv", tmp_path / "b.csv"]
    experts = [
        {"name": n, "model": str(m), "calibration": {"data": str(d)}}
        for n, m, d in zip("ab", models, data, strict=True)
    ]
    workspace, kept = Workspace(settings), next((name for name in names if name != "LABEL_0"), "LABEL_0")
    domains = [load_domain(path, name) for path, name in zip(data, "ab", strict=True)]
    for heads in (None, "union", "own"):
        recipe = parse_recipe({"method": "simple_mean", "experts": experts, "heads": heads})
        assert not check_recipe(recipe, settings).problems
        plan = workspace.plan(recipe)
        assert plan.all_labels == (kept,)
        *_, found = workspace.evaluate([workspace.candidate(plan)], workspace.evaluation_of(domains, plan), [])
        assert [score.metric for score in found.scores] == ["pearson", "pearson"]
        if heads == "own":
            continue
        out = tmp_path / f"out {heads}"
        workspace.export(plan, out)
        assert json.loads((out / "config.json").read_text())["id2label"] == {"0": kept}
        state = load_file(out / "model.safetensors")
        first, second = (load_file(model / "model.safetensors") for model in models)
        torch.testing.assert_close(
            state["classifier.weight"], (first["classifier.weight"] + second["classifier.weight"]) / 2
        )

    project = blank_project()
    for name, model in zip("ab", models, strict=True):
        project, _ = add_expert(project, name, Checkpoint(name, model, name))
        project, _ = add_domain(project, name, domains[0], tmp_path / "text")
    assert explain_labels(project) == f"One head predicts one number, called {kept}."
    evaluation = project_evaluation(workspace, project, "report")
    assert [encoded.label_names for encoded in evaluation.domains] == [(kept,), (kept,)]


def test_two_taggers_of_one_label_each_are_no_regressors():
    models = [
        ModelHeader(name, {"architectures": ["BertForTokenClassification"], "model_type": "bert"}, {}, 0)
        for name in "ab"
    ]
    named = [("a", ("B-PER",)), ("b", ("B-LOC",))]
    assert name_outputs(models, named) == named
