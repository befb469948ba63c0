"""Labels are aligned by name: heads with rows in another order, with other names, and with other labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import random_texts, tiny_bert, write_data, write_model

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import DomainError, IncompatibleError, RecipeError
from fusion_ui.evaluation.candidates import checkpoint_candidate
from fusion_ui.evaluation.combined import Ensemble
from fusion_ui.evaluation.scores import Role, score_rows
from fusion_ui.merging.labels import Heads, align_labels
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.progress import Progress
from fusion_ui.workspace import Workspace

HEAD = frozenset({"classifier.weight", "classifier.bias"})


def recipe_of(models: list[Path], folder: Path, **change: object) -> MergeRecipe:
    data = [write_data(folder / f"{model.name}.csv", 12, seed=i) for i, model in enumerate(models)]
    experts = [
        {"name": m.name, "model": str(m), "calibration": {"data": str(d)}} for m, d in zip(models, data, strict=True)
    ]
    return parse_recipe({"method": "regmean", "experts": experts} | change)


def turned(folder: Path, seed: int) -> Path:
    """The model of `tiny_bert(seed)` with its labels in the other order: the same function of text to label name."""
    model = tiny_bert(seed, labels=("Positive", "Negative"))
    for parameter in (model.classifier.weight, model.classifier.bias):
        parameter.data = parameter.data.flip(0)
    return write_model(folder / "turned", model)


@pytest.mark.parametrize("method", ["regmean", "simple_mean", "fisher"])
def test_the_same_labels_in_another_order_give_the_same_merge(method: str, settings, tmp_path: Path):
    first = write_model(tmp_path / "first", tiny_bert(0))
    plain = write_model(tmp_path / "turned", tiny_bert(1))
    workspace = Workspace(settings)
    change = {"method": method}
    workspace.export(workspace.plan(recipe_of([first, plain], tmp_path, **change)), tmp_path / "a")
    other = turned(tmp_path / "elsewhere", 1)
    workspace.export(workspace.plan(recipe_of([first, other], tmp_path, **change)), tmp_path / "b")
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert not torch.equal(load_file(other / "model.safetensors")["classifier.weight"],
                           load_file(plain / "model.safetensors")["classifier.weight"])  # fmt: skip
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6, msg=name)


def test_a_label_known_to_experts_of_weight_zero_alone_keeps_their_row():
    space = align_labels([("a", ["x", "y"]), ("b", ["y", "z"])], Heads.UNION, HEAD)
    merged = space.average_rows([torch.tensor([[1.0], [2.0]]), torch.tensor([[4.0], [8.0]])], [1.0, 0.0])
    assert merged.tolist() == [[1.0], [2.0], [8.0]]


def test_labels_that_differ_are_refused_until_the_recipe_says_what_they_mean(settings, tmp_path: Path):
    first = write_model(tmp_path / "first", tiny_bert(0))
    other = write_model(tmp_path / "other", tiny_bert(1, labels=("bad", "good")))
    workspace, recipe = Workspace(settings), recipe_of([first, other], tmp_path)
    with pytest.raises(IncompatibleError, match=r"labels differ \(negative, positive against bad, good\).*'union'"):
        workspace.plan(recipe)
    values = recipe.model_dump(mode="json")
    values["experts"][1]["labels"] = {"bad": "negative", "good": "positive"}
    plan = workspace.plan(parse_recipe(values))
    assert plan.labels.is_in_order and plan.labels.names == ("negative", "positive")
    values["experts"][1]["labels"] = {"good": "negative", "bad": "positive"}
    assert workspace.plan(parse_recipe(values)).labels.positions[1] == (1, 0)
    values["experts"][1]["labels"] = {"ugly": "negative"}
    with pytest.raises(RecipeError, match=r"has no label 'ugly' to rename\. Its labels are: bad, good"):
        workspace.plan(parse_recipe(values))
    values["experts"][1]["labels"] = {"bad": "good"}
    with pytest.raises(IncompatibleError, match="has a label twice"):
        workspace.plan(parse_recipe(values))


def test_a_union_head_averages_each_row_over_the_experts_that_know_its_label(settings, tmp_path: Path):
    labels = [("negative", "positive"), ("positive", "neutral"), ("positive", "negative")]
    models = [write_model(tmp_path / f"m{i}", tiny_bert(i, labels=names)) for i, names in enumerate(labels)]
    workspace = Workspace(settings)
    plan = workspace.plan(recipe_of(models, tmp_path, heads="union"))
    assert plan.labels.names == ("negative", "positive", "neutral")
    merged = workspace.export(plan, tmp_path / "out")
    heads = [load_file(model / "model.safetensors")["classifier.weight"] for model in models]
    expected = torch.stack(
        [(heads[0][0] + heads[2][1]) / 2, (heads[0][1] + heads[1][0] + heads[2][0]) / 3, heads[1][1]]
    )
    written = load_file(tmp_path / "out" / "model.safetensors")["classifier.weight"]
    torch.testing.assert_close(written, expected)
    assert merged.treatments["classifier.weight"].path == "mean"
    assert "know" in merged.treatments["classifier.weight"].reason
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive", "2": "neutral"}
    assert config["label2id"]["neutral"] == 2
    from transformers import AutoModelForSequenceClassification

    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert loaded.classifier.out_features == 3


def test_own_heads_stay_each_experts_over_the_merged_encoder(settings, tmp_path: Path):
    labels = [("negative", "positive"), ("spam", "ham", "other")]
    models = [write_model(tmp_path / f"m{i}", tiny_bert(i, labels=names)) for i, names in enumerate(labels)]
    workspace = Workspace(settings)
    plan = workspace.plan(recipe_of(models, tmp_path, heads="own"))
    merged = workspace.export(plan, tmp_path / "out")
    assert "classifier.weight" not in merged.treatments
    encoders = []
    for i, model in enumerate(models):
        written = load_file(tmp_path / "out" / f"m{i}" / "model.safetensors")
        own = load_file(model / "model.safetensors")
        assert torch.equal(written["classifier.weight"], own["classifier.weight"])
        encoders.append({name: tensor for name, tensor in written.items() if name not in HEAD})
        config = json.loads((tmp_path / "out" / f"m{i}" / "config.json").read_text())
        assert list(config["id2label"].values()) == list(labels[i])
    assert all(torch.equal(encoders[0][name], encoders[1][name]) for name in encoders[0])
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["heads"] == "own"


def test_rows_are_found_by_name_without_case():
    space = align_labels([("a", ("NEG", "pos")), ("b", ("Pos", "neg"))], None, HEAD)
    assert (space.heads, space.names, space.positions) == (Heads.SHARED, ("NEG", "pos"), ((0, 1), (1, 0)))
    assert not space.is_in_order
    tensor = torch.arange(4.0).reshape(2, 2)
    assert torch.equal(space.reorder("classifier.weight", 1, tensor), tensor.flip(0))
    assert space.reorder("classifier.weight", 0, tensor) is tensor
    assert space.reorder("bert.pooler.dense.weight", 1, tensor) is tensor
    with pytest.raises(IncompatibleError, match="output layer of this architecture is not known"):
        align_labels([("a", ("neg", "pos")), ("b", ("pos", "neg"))], None, frozenset())
    same = align_labels([("a", ("neg", "pos")), ("b", ("neg", "pos"))], Heads.UNION, frozenset())
    assert same.heads is Heads.SHARED and same.is_in_order


def test_every_head_answers_its_own_domain_and_unknown_labels_are_never_chosen(settings, tmp_path: Path):
    labels = [("negative", "positive"), ("spam", "ham", "other")]
    models = [write_model(tmp_path / f"m{i}", tiny_bert(i, labels=names)) for i, names in enumerate(labels)]
    workspace = Workspace(settings)
    plan = workspace.plan(recipe_of(models, tmp_path, heads="own"))
    workspace.export(plan, tmp_path / "out")
    texts = random_texts(12, 7)
    domains = [
        Domain("m0", "m0", "report", texts, ("negative", "positive") * 6),
        Domain("letters", "letters", "report", texts, ("spam", "other") * 6),
    ]
    evaluation = workspace.evaluation_of(domains, plan)
    assert evaluation.label_names == ("negative", "positive", "spam", "ham", "other")
    *_, logits = workspace.candidate(plan).stream(evaluation, Progress())
    chosen = {encoded.domain.name: encoded.label_names for encoded in evaluation.domains}
    assert chosen == {"m0": labels[0], "letters": labels[1]}, "who keeps a head chooses among its labels alone"
    assert all(logits[name].shape == (12, len(names)) for name, names in chosen.items())
    assert not any(rows.isnan().any() for rows in logits.values())
    for name, number in (("m0", 0), ("letters", 1)):
        exported = Checkpoint("m", tmp_path / "out" / f"m{number}", "m")
        *_, alone = checkpoint_candidate("m", "M", exported).stream(evaluation, Progress())
        torch.testing.assert_close(logits[name], alone[name], equal_nan=True, rtol=1e-4, atol=1e-5)
        encoded = next(d for d in evaluation.domains if d.domain.name == name)
        score = score_rows(encoded, logits[name], Role.IN_DOMAIN)
        known = logits[name].nan_to_num(nan=-1e9).argmax(1).tolist()
        assert score.num_correct == sum(k == y for k, y in zip(known, encoded.targets, strict=True))


def test_the_ensemble_averages_a_label_over_the_members_that_know_it(settings, tmp_path: Path):
    labels = [("negative", "positive"), ("positive", "neutral")]
    models = [write_model(tmp_path / f"m{i}", tiny_bert(i, labels=names)) for i, names in enumerate(labels)]
    checkpoints = [Checkpoint(m.name, m, str(m)) for m in models]
    members = tuple(checkpoint_candidate(c.name, c.name, c) for c in checkpoints)
    domain = Domain("d", "d", "report", random_texts(10, 3), ("negative", "neutral") * 5)
    names = ("negative", "positive", "neutral")
    evaluation = Workspace(settings).evaluation([domain], checkpoints[0], names)
    *_, first = members[0].stream(evaluation, Progress())
    *_, second = members[1].stream(evaluation, Progress())
    ensemble = Ensemble("ensemble", "Ensemble", "ensemble", "#000000", True, members)
    *_, together = ensemble.stream(evaluation, Progress())
    a, b = first["d"], second["d"]
    expected = torch.stack([a[:, 0], (a[:, 1] + b[:, 1]) / 2, b[:, 2]], dim=1)
    torch.testing.assert_close(together["d"], expected)


def test_numbers_stand_for_the_labels_of_their_own_expert_and_never_for_a_place_in_a_union(settings, tmp_path: Path):
    labels = [("negative", "positive"), ("spam", "ham")]
    models = [write_model(tmp_path / f"m{i}", tiny_bert(i, labels=names)) for i, names in enumerate(labels)]
    workspace = Workspace(settings)
    plan = workspace.plan(recipe_of(models, tmp_path, heads="union"))
    texts = random_texts(4, 1)
    evaluation = workspace.evaluation_of([Domain("m1", "m1", "report", texts, ("0", "1", "1", "0"))], plan)
    named = evaluation.domains[0].domain.labels
    assert named == ("spam", "ham", "ham", "spam")
    with pytest.raises(DomainError, match="numbers for labels, and the models have their labels in different orders"):
        workspace.evaluation_of([Domain("else", "else", "report", texts, ("0", "1", "1", "0"))], plan)


def test_a_domain_is_answered_by_the_head_of_the_expert_that_owns_it(settings, tmp_path: Path):
    models = [write_model(tmp_path / f"m{i}", tiny_bert(i)) for i in range(2)]
    workspace = Workspace(settings)
    plan = workspace.plan(recipe_of(models, tmp_path, heads="own"))
    domain = Domain("films", "films", "report", random_texts(6, 2), ("negative", "positive") * 3)
    evaluation = workspace.evaluation_of([domain], plan)
    *_, first = workspace.candidate(plan).stream(evaluation, Progress())
    *_, owned = workspace.candidate(plan, {"films": "m1"}).stream(evaluation, Progress())
    assert not torch.allclose(first["films"], owned["films"])
