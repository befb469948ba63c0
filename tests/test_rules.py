"""Rules: what they keep, what they override, that the first match decides, and that they stand in key and report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_recipe import expert as entry
from test_recipe import recipe as values
from tiny_models import tiny_bert, tiny_gpt2, write_data, write_experts, write_model

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import MergeError, RecipeError, StatisticError
from fusion_ui.merging.labels import Heads, LabelSpace
from fusion_ui.merging.merge import MergedModel, PreparedMerge
from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.preflight import check_recipe
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.settings import Settings
from fusion_ui.statistics.bundle import write_statistic
from fusion_ui.statistics.measure import measure
from fusion_ui.statistics.sharing import keep_diagonals
from fusion_ui.statistics.statistic import StatisticKind, StatisticSettings
from fusion_ui.workspace import Workspace

QUERY = "bert.encoder.layer.0.attention.self.query.weight"


POOLER, WORDS = "bert.pooler.dense.weight", "bert.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two experts and their base."""
    return write_experts(tmp_path_factory.mktemp("models"), 3)


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace(settings)


def plan_of(workspace: Workspace, models: list[Path], *rules: dict[str, Any], **change: Any) -> MergePlan:
    """RegMean of two models over the third, under rules."""
    data = [write_data(workspace.settings.cache_dir.parent / f"{i}.csv", seed=i) for i in range(2)]
    experts = [
        {"name": name, "model": str(model), "calibration": {"data": str(path)}}
        for name, model, path in zip(("news", "films"), models[:2], data, strict=True)
    ]
    value = {"method": "regmean", "parameters": {"alpha": 0.5}, "experts": experts, "base": str(models[2])}
    return workspace.plan(parse_recipe(value | {"rules": rules} | change))


def merge(workspace: Workspace, plan: MergePlan, is_prepared: bool) -> MergedModel:
    if is_prepared:
        workspace.prepare(plan)
    return workspace.merge(plan)


every_path = pytest.mark.parametrize("is_prepared", [False, True], ids=["once", "prepared"])


@every_path
@pytest.mark.parametrize("make", [tiny_bert, tiny_gpt2])
def test_a_rule_keeps_mean_base_or_expert(workspace, tmp_path: Path, make, is_prepared: bool):
    # GPT-2 too: its Conv1D weights are stored transposed, and what is kept must not be turned.
    models = [write_model(tmp_path / str(i), make(i)) for i in range(3)]
    first, second, base = (load_file(model / "model.safetensors") for model in models)
    rules = ({"parameters": "ffn", "merge": "base"}, {"parameters": "attention", "merge": "films"})
    rules += ({"parameters": "head", "merge": "mean"},)
    plan = plan_of(workspace, models, *rules)
    merged, plain = merge(workspace, plan, is_prepared), workspace.merge(plan_of(workspace, models))
    seen = {"base": 0, "expert": 0, "mean": 0}
    for name, tensor in merged.tensors.items():
        treatment = merged.treatments[name]
        if ".attn.c" in name or "self." in name or "attention.output.dense" in name:
            expected, reason = second[name], "kept films: rule 'attention'"
        elif ".mlp." in name or "intermediate" in name or (".output.dense" in name):
            expected, reason = base[name], "kept the base: rule 'ffn'"
        elif name.split(".")[0] in ("classifier", "score") or "pooler" in name:
            expected, reason = (first[name] + second[name]) / 2, "kept the mean: rule 'head'"
        else:
            expected, reason = plain.tensors[name], plain.treatments[name].reason
        torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-6)
        assert treatment.reason == reason, name
        seen[treatment.path] = seen.get(treatment.path, 0) + 1
    assert min(seen.values()) >= 1
    assert merged.describe()["parameters"].keys() == merged.tensors.keys()


@every_path
def test_an_override_is_the_merge_with_that_value(workspace, models, is_prepared: bool):
    plan = plan_of(workspace, models, {"parameters": "attention", "overrides": {"alpha": 0.9}})
    merged = merge(workspace, plan, is_prepared)
    at = {alpha: workspace.merge(plan_of(workspace, models).with_parameters(alpha=alpha)) for alpha in (0.5, 0.9)}
    num_overridden = 0
    for name, tensor in merged.tensors.items():
        is_overridden = ".attention." in name and "LayerNorm" not in name
        expected = at[0.9 if is_overridden else 0.5]
        torch.testing.assert_close(tensor, expected.tensors[name])
        if is_overridden and name.endswith("weight"):
            assert merged.treatments[name].reason == "alpha = 0.9: rule 'attention'"
            assert merged.treatments[name].path == expected.treatments[name].path
            num_overridden += 1
        else:  # a bias is the mean at any alpha, and says so
            assert merged.treatments[name] == expected.treatments[name]
    assert num_overridden == 4
    assert not torch.allclose(at[0.5].tensors[QUERY], at[0.9].tensors[QUERY], rtol=1e-4)  # else this shows nothing


@every_path
def test_the_first_rule_that_matches_decides(workspace, models, is_prepared: bool):
    rules = [
        {"parameters": "*.query.weight"},  # an exception to what follows
        {"parameters": "*.key.weight", "merge": "news"},
        {"parameters": "layers 0-3", "merge": "mean"},
        {"parameters": "attention", "merge": "films"},  # nothing is left for it
    ]
    merged = merge(workspace, plan_of(workspace, models, *rules), is_prepared)
    plain = workspace.merge(plan_of(workspace, models))
    first, second = (load_file(model / "model.safetensors") for model in models[:2])
    torch.testing.assert_close(merged.tensors[QUERY], plain.tensors[QUERY])
    key, value = QUERY.replace("query", "key"), QUERY.replace("query", "value")
    assert torch.equal(merged.tensors[key], first[key])
    torch.testing.assert_close(merged.tensors[value], (first[value] + second[value]) / 2)
    assert "kept films" not in json.dumps(merged.describe())


def test_under_another_rule_or_alpha_nothing_is_factorised_again(workspace, models, monkeypatch):
    plain = plan_of(workspace, models)
    workspace.prepare(plain)
    prepared = workspace._preparations.find(plain)
    monkeypatch.setattr(PreparedMerge, "__init__", None)  # a second preparation would fail
    for rule in ({"merge": "base"}, {"merge": "mean"}, {"merge": "news"}, {"overrides": {"alpha": 0.1}}):
        plan = plan_of(workspace, models, {"parameters": "embeddings", "merge": "base"}, {"parameters": "head"} | rule)
        workspace.prepare(plan)
        reads, slots = [], prepared.source.slots
        monkeypatch.setattr(prepared.source, "slots", lambda names, s=slots, r=reads: r.extend(names) or s(names))
        for alpha in (0.2, 0.3):
            assert workspace.merge(plan.with_parameters(alpha=alpha)).treatments[WORDS].path == "base"
        assert len(set(reads)) == len(reads), "what a rule keeps is read once, not at every value of alpha"
        monkeypatch.setattr(prepared.source, "slots", slots)


def test_what_a_rule_keeps_is_this_recipes_and_not_another_ones(workspace, models):
    # Two recipes that give the same experts each other's names share a preparation.
    plan = plan_of(workspace, models, {"parameters": "head", "merge": "news"})
    turned = plan.recipe.model_copy(update={"experts": tuple(
        e.model_copy(update={"name": name}) for e, name in zip(plan.recipe.experts, ("films", "news"), strict=True)
    )})  # fmt: skip
    other = workspace.plan(turned)
    assert other.family_key == plan.family_key and other.key != plan.key
    workspace.prepare(plan)
    first, second = (load_file(model / "model.safetensors")[POOLER] for model in models[:2])
    assert torch.equal(workspace.merge(plan).tensors[POOLER], first)
    assert torch.equal(workspace.merge(other).tensors[POOLER], second)


def test_the_key_changes_with_the_rules(workspace, models):
    rules: list[tuple[dict[str, Any], ...]] = [
        (),
        ({"parameters": "head", "merge": "mean"},),
        ({"parameters": "head", "merge": "base"},),
        ({"parameters": "head", "merge": "news"},),
        ({"parameters": "head", "merge": "films"},),
        ({"parameters": "ffn", "merge": "mean"},),
        ({"parameters": "head", "overrides": {"alpha": 0.1}},),
        ({"parameters": "head", "overrides": {"alpha": 0.2}},),
        ({"parameters": "head", "merge": "mean"}, {"parameters": "ffn", "merge": "mean"}),
    ]
    plans = [plan_of(workspace, models, *found) for found in rules]
    assert len({plan.key for plan in plans}) == len(plans)
    assert len({plan.family_key for plan in plans}) == 1


def test_without_rules_every_key_is_what_it_was_before_there_were_any():
    def known(name: str) -> Checkpoint:
        checkpoint = Checkpoint(name, Path(name), name)
        vars(checkpoint).update(fingerprint=f"weights of {name}", tokenizer_fingerprint=f"tokens of {name}")
        return checkpoint

    def plan(**change: Any) -> MergePlan:
        found = parse_recipe(values(experts=[entry("a", model="a"), entry("b", model="b")], **change))
        labels = LabelSpace(Heads.SHARED, ("negative", "positive"), ((0, 1), (0, 1)), frozenset({"classifier.weight"}))
        texts = tuple(Domain(name, name, "calibrate", (f"text of {name}",), ()) for name in "ab")
        return MergePlan(found, found.make_method(), (known("a"), known("b")), None, texts, labels)

    # Written down from code that knows no rules; the second with all that RegMean declares today.
    assert plan().family_key == "a6014ae07b2dc2dd9f4996da247c1b0f"
    assert plan().key == plan(rules=[]).key == "87051e2eaac710f70d60f9be8745e3cd"
    assert plan(method="simple_mean", parameters={}).key == "c413e3abc4d8fed3491c0640c3e27354"
    assert plan(rules=[{"parameters": "head", "merge": "mean"}]).key != plan().key


def test_an_exported_recipe_keeps_its_rules_and_repeats_the_merge(workspace, models, tmp_path: Path):
    rules = [{"parameters": "embeddings", "merge": "base"}, {"parameters": "ffn", "overrides": {"alpha": 0.1}}]
    plan = plan_of(workspace, models, *rules)
    workspace.export(plan, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert [rule["parameters"] for rule in written["rules"]] == ["embeddings", "ffn"]
    again = workspace.plan(parse_recipe(written))
    assert again.key == plan.key
    workspace.export(again, tmp_path / "again")
    a, b = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "again"))
    assert a == b
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert (
        report["parameters"][WORDS] | {"path": "base", "reason": "kept the base: rule 'embeddings'"}
        == (report["parameters"][WORDS])
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- Rule for embeddings: kept the base\n- Rule for ffn: alpha = 0.1\n\n" in card


@pytest.mark.parametrize("pattern", ["atention", "layers 1-4", "*.query.wieght"])
def test_a_rule_that_matches_nothing_is_refused_with_the_groups_there_are(workspace, models, pattern: str):
    with pytest.raises(RecipeError) as error:
        plan_of(workspace, models, {"parameters": pattern, "merge": "mean"})
    assert str(error.value) == (
        f"The rule for {pattern!r} matches no parameter that is merged. This model has the groups attention, ffn, "
        "embeddings, norms, head, biases, layers 0-0. Anything else is a pattern of names, such as '*.query.weight'."
    )
    recipe = plan_of(workspace, models).recipe
    rules = parse_recipe(values(rules=[{"parameters": pattern, "merge": "mean"}])).rules
    found = check_recipe(recipe.model_copy(update={"rules": rules}), workspace.settings)
    assert str(error.value) in found.problems  # the pre-flight says the same


def test_a_head_that_is_not_merged_cannot_be_ruled(workspace, tmp_path: Path, models):
    with pytest.raises(RecipeError, match="matches no parameter that is merged"):
        plan_of(workspace, models, {"parameters": "classifier.*", "merge": "mean"}, heads="own")


def test_a_base_with_entries_that_are_not_numbers_is_named(workspace, models, tmp_path: Path):
    broken = load_file(models[2] / "model.safetensors")[POOLER]
    broken[0, 0] = torch.nan
    base = write_model(tmp_path / "base", tiny_bert(2), extra={POOLER: broken})
    with pytest.raises(MergeError, match=f"base cannot be merged: its tensor {POOLER} has entries that are not finite"):
        workspace.merge(plan_of(workspace, [*models[:2], base], {"parameters": "head", "merge": "base"}))


def test_diagonals_alone_refuse_a_rule_that_would_use_more(workspace, models, tmp_path: Path):
    plan, experts = plan_of(workspace, models), []
    for checkpoint, source in zip(plan.experts, plan.calibration, strict=True):
        statistic = measure(checkpoint, source, StatisticKind.GRAM, StatisticSettings(6), workspace.settings)
        file = tmp_path / f"{checkpoint.name}.safetensors"
        write_statistic(file, keep_diagonals(statistic))
        experts.append({"name": checkpoint.name, "model": checkpoint.source, "calibration": {"statistics": str(file)}})
    value = {"method": "regmean", "parameters": {"alpha": 0}, "experts": experts}
    workspace.plan(parse_recipe(value))
    with pytest.raises(StatisticError, match="hold only the diagonals"):
        workspace.plan(parse_recipe(value | {"rules": [{"parameters": "ffn", "overrides": {"alpha": 0.5}}]}))


def test_float16_experts_keep_their_own_bits(workspace, tmp_path: Path):
    models = [write_model(tmp_path / str(i), tiny_bert(i).half()) for i in range(3)]
    plan = plan_of(workspace, models, {"parameters": "head", "merge": "films"})
    workspace.export(plan, tmp_path / "out")
    written, films = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", models[1]))
    assert written[POOLER].dtype == torch.float16 and torch.equal(written[POOLER], films[POOLER])


def test_a_method_without_statistics_takes_rules_too(workspace, models):
    plan = plan_of(workspace, models, {"parameters": "biases", "merge": "news"}, method="simple_mean", parameters={})
    merged, news = workspace.merge(plan), load_file(models[0] / "model.safetensors")
    assert all(torch.equal(tensor, news[n]) for n, tensor in merged.tensors.items() if n.endswith(".bias"))
    assert merged.treatments[QUERY].path == "mean" and merged.treatments[QUERY].reason == ""


def test_a_rule_cannot_change_what_is_measured(workspace, models):
    for option in ("embeddings", "with_bias"):
        with pytest.raises(RecipeError, match=f"sets {option}, which decides what is measured"):
            plan_of(workspace, models, {"parameters": "embeddings", "overrides": {option: True}})


def test_a_rule_cannot_tell_a_bias_from_the_weight_it_is_solved_with(workspace, models):
    together = {"alpha": 0.9, "with_bias": True}
    with pytest.raises(RecipeError, match="and with_bias solves the two together"):
        plan_of(workspace, models, {"parameters": "biases", "merge": "mean"}, parameters=together)
    rule = {"parameters": "ffn", "merge": "mean"}
    merged = workspace.merge(plan_of(workspace, models, rule, parameters=together))
    pair = [name for name in merged.treatments if name.endswith("intermediate.dense.bias")]
    assert merged.treatments[pair[0]].reason == "kept the mean: rule 'ffn'"
