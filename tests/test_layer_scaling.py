"""Layer scaling after any method: its law, what it refuses, its place in recipes, keys, reports and prepared merges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_models import LABELS, VOCABULARY, tiny_bert, write_data, write_model
from torch import nn

from fusion_ui.errors import MergeError, ParameterError, RecipeError
from fusion_ui.merging.layer_scaling import LayerScaling, scale_update
from fusion_ui.merging.merge import PreparedMerge, merge_once
from fusion_ui.merging.preflight import check_recipe
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.merging.slots import SlotSource
from fusion_ui.methods.data_free_regmean import DataFreeRegMean
from fusion_ui.methods.simple_mean import SimpleMean
from fusion_ui.parameters import Range, declared_parameters
from fusion_ui.settings import Settings
from fusion_ui.workspace import Workspace

NAMES = ["embeddings.weight", "layer.0.dense.weight", "layer.1.dense.weight", "layer.2.dense.weight", "head.weight"]


def deep_bert(seed: int) -> nn.Module:
    """Three layers, so that one of them is in between."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    torch.manual_seed(seed)
    return BertForSequenceClassification(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [write_model(folder / f"m{i}", deep_bert(i)) for i in range(3)]


def recipe_of(models: list[Path], scaling: dict[str, Any] | None, **change: Any) -> MergeRecipe:
    """A simple mean of all but the last model, which is the base."""
    experts = [{"name": model.name, "model": str(model)} for model in models[:-1]]
    value = {"method": "simple_mean", "experts": experts, "base": str(models[-1])} | change
    return parse_recipe(value | ({} if scaling is None else {"layer_scaling": scaling}))


def test_it_is_declared_like_a_methods_parameters():
    declared = declared_parameters(LayerScaling)
    assert list(declared) == ["shallow", "deep"]
    assert all(isinstance(p, Range) and p.help.endswith(".") for p in declared.values())
    with pytest.raises(ParameterError, match=r"The 'deep' parameter of Layer scaling must be a number in \[0, 2\]\."):
        LayerScaling(deep=-1)


@given(shallow=st.floats(0, 2), deep=st.floats(0, 2))
def test_the_factor_grows_evenly_with_depth(shallow: float, deep: float):
    factors = LayerScaling(shallow, deep).factors(NAMES)
    expected = [shallow, shallow, (shallow + deep) / 2, deep, deep]
    assert list(factors.values()) == pytest.approx(expected, abs=1e-15)


@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(0, 2))
def test_the_update_is_scaled_and_a_factor_of_1_changes_no_bit(seed: int, factor: float):
    generator = torch.Generator().manual_seed(seed)
    base, merged = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    expected = base + factor * (merged - base)
    torch.testing.assert_close(scale_update(merged, base, factor), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(scale_update(merged, base, 0.0), base)
    merged[0, 0] = -0.0  # whose sign any arithmetic would lose
    assert scale_update(merged, base, 1.0) is merged


def test_an_example_by_hand():
    base, merged = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 2.0])
    assert scale_update(merged, base, 0.25).tolist() == [1.5, -1.0]
    assert scale_update(merged, base, 1.5).tolist() == [4.0, 4.0]
    assert scale_update(merged, base.double(), 0.25).dtype == torch.float32


def test_slope_0_is_the_merge_without_it_to_the_bit(models, settings: Settings):
    workspace = Workspace(settings)
    plain, level = (
        workspace.merge(workspace.plan(recipe_of(models, s))) for s in (None, {"shallow": 1.0, "deep": 1.0})
    )
    assert all(torch.equal(plain.tensors[name], level.tensors[name]) for name in plain.tensors)
    assert {t.layer_factor for t in plain.treatments.values()} == {None}
    assert {t.layer_factor for t in level.treatments.values()} == {1.0}


@pytest.mark.parametrize("method", [SimpleMean(), DataFreeRegMean(alpha=0.5)], ids=["simple mean", "data-free"])
def test_every_parameter_is_scaled_by_its_depth_after_any_method(models, method, settings: Settings):
    plan = Workspace(settings).plan(recipe_of(models, {}))
    source = SlotSource(plan.experts, plan.recipe.weights, {}, plan.base)
    scaling = LayerScaling(0.2, 0.8)
    plain, scaled = merge_once(source, method), merge_once(source, method, layer_scaling=scaling)
    base = load_file(models[-1] / "model.safetensors")
    for name, tensor in plain.tensors.items():
        factor = scaled.treatments[name].layer_factor
        torch.testing.assert_close(scaled.tensors[name], base[name] + factor * (tensor - base[name]))
        assert scaled.treatments[name].path == plain.treatments[name].path
    at = {name: treatment.layer_factor for name, treatment in scaled.treatments.items()}
    assert at["bert.embeddings.word_embeddings.weight"] == at["bert.encoder.layer.0.output.dense.weight"] == 0.2
    assert at["bert.encoder.layer.1.output.dense.weight"] == pytest.approx(0.5)
    assert at["bert.encoder.layer.2.output.dense.bias"] == at["classifier.weight"] == pytest.approx(0.8)


def test_a_prepared_merge_is_scaled_alike_and_serves_every_factor(models, settings: Settings):
    plan = Workspace(settings).plan(recipe_of(models, {}))
    source = SlotSource(plan.experts, plan.recipe.weights, {}, plan.base)
    prepared = PreparedMerge(source, DataFreeRegMean)
    for scaling in (LayerScaling(0.3, 1.0), LayerScaling(0.0, 2.0)):
        once = merge_once(source, DataFreeRegMean(), layer_scaling=scaling)
        again = prepared.merge(DataFreeRegMean(), layer_scaling=scaling)
        for name, tensor in once.tensors.items():
            torch.testing.assert_close(again.tensors[name], tensor, rtol=1e-4, atol=1e-5)
            assert again.treatments[name].layer_factor == once.treatments[name].layer_factor


def test_a_workspace_prepares_once_for_all_factors(models, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    workspace = Workspace(settings)
    plans = [
        workspace.plan(recipe_of(models, s, method="data_free_regmean"))
        for s in (None, {"shallow": 0.5}, {"shallow": 0.25})
    ]
    assert len({plan.family_key for plan in plans}) == 1 and len({plan.key for plan in plans}) == 3
    workspace.prepare(plans[0])
    monkeypatch.setattr(DataFreeRegMean, "merge_parameter", None)
    monkeypatch.setattr(DataFreeRegMean, "prepare_parameter", None)
    name = "bert.encoder.layer.0.output.dense.weight"
    base = load_file(models[-1] / "model.safetensors")[name]
    updates = [(workspace.merge(plan).tensors[name] - base).norm().item() for plan in plans]
    assert updates[1] / updates[0] == pytest.approx(0.5, rel=1e-5)
    assert updates[2] / updates[0] == pytest.approx(0.25, rel=1e-5)


def test_a_recipe_without_it_is_what_it_was_before(models):
    plain = recipe_of(models, None)
    assert "layer_scaling" not in plain.model_dump() and "layer_scaling" not in json.loads(plain.model_dump_json())
    scaled = recipe_of(models, {"shallow": 0.25})
    assert parse_recipe(json.loads(scaled.model_dump_json())) == scaled
    assert scaled.make_layer_scaling() == LayerScaling(0.25, 1.0)
    assert recipe_of(models, {}).make_layer_scaling() == LayerScaling()
    assert plain.with_layer_scaling(deep=0.5).make_layer_scaling() == LayerScaling(deep=0.5)
    assert scaled.with_layer_scaling(deep=0.5).make_layer_scaling() == LayerScaling(0.25, 0.5)


@pytest.mark.parametrize(
    ("scaling", "error", "message"),
    [
        ({"shallow": 3}, ParameterError, "The 'shallow' parameter of Layer scaling must be a number in [0, 2]. Got 3"),
        ({"deep": "1"}, ParameterError, "must be a number in [0, 2]. Got '1' instead."),
        ({"slope": 1}, ParameterError, "Layer scaling has no parameter 'slope'. It has: 'shallow', 'deep'."),
        (0.5, RecipeError, "layer_scaling: Input should be a valid dictionary"),
    ],
)
def test_wrong_values_are_refused_like_a_methods(models, scaling: Any, error: type[Exception], message: str):
    with pytest.raises(error) as raised:
        recipe_of(models, scaling)
    assert message in str(raised.value)


def test_without_the_base_or_without_known_layers_it_is_refused_and_checked_before(
    models, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    workspace = Workspace(settings)
    recipe = recipe_of(models, {}, base=None)
    with pytest.raises(RecipeError, match="Layer scaling needs the base model that the experts were fine-tuned from"):
        workspace.plan(recipe)
    assert any("Layer scaling needs the base" in problem for problem in check_recipe(recipe, settings).problems)
    assert check_recipe(recipe_of(models, {}), settings).problems == ()
    monkeypatch.setattr("fusion_ui.merging.layer_scaling.count_layers", lambda names: 0)
    with pytest.raises(RecipeError, match=r"cannot tell this architecture's layers by their names\. Merge without it"):
        workspace.plan(recipe_of(models, {}))


def test_what_a_method_lacks_is_found_by_the_check_too(models, settings: Settings):
    (problem,) = check_recipe(recipe_of(models, None, method="iso_c", base=None), settings).problems
    assert problem.startswith("Iso-C needs the base model")
    three = [*models, models[0]]
    (problem,) = check_recipe(recipe_of(three, None, method="slerp"), settings).problems
    assert problem.startswith("SLERP merges 2 experts, and 3 take part")


def test_a_head_that_the_base_cannot_have_is_left_alone(settings: Settings, tmp_path: Path):
    labels = [LABELS, ("negative", "neutral", "positive"), LABELS]
    *experts, base = [write_model(tmp_path / f"m{i}", tiny_bert(i, labels=known)) for i, known in enumerate(labels)]
    workspace = Workspace(settings)
    for heads in ("union", "own"):
        plain, scaled = (
            workspace.merge(workspace.plan(recipe_of([*experts, base], s, heads=heads))) for s in (None, {"deep": 0.5})
        )
        assert ("classifier.weight" in scaled.tensors) == (heads == "union")
        if heads == "union":
            assert torch.equal(scaled.tensors["classifier.weight"], plain.tensors["classifier.weight"])
            assert scaled.treatments["classifier.weight"].layer_factor is None
        assert scaled.treatments["bert.pooler.dense.weight"].layer_factor == 0.5


def test_entries_that_scaling_makes_infinite_are_refused(models, settings: Settings, tmp_path: Path):
    name = "bert.encoder.layer.2.output.dense.weight"
    large = [write_model(tmp_path / f"e{i}", deep_bert(i), extra={name: torch.full((16, 32), 3e38)}) for i in range(2)]
    workspace = Workspace(settings)
    with pytest.raises(MergeError, match=f"Merging {name} gave entries that are not finite"):
        workspace.merge(workspace.plan(recipe_of([*large, models[-1]], {"deep": 2.0})))


def test_an_export_says_that_it_was_applied_and_repeats_it(models, settings: Settings, tmp_path: Path):
    calibration = {"data": str(write_data(tmp_path / "data.csv"))}
    experts = [{"name": m.name, "model": str(m), "calibration": calibration} for m in models[:2]]
    workspace = Workspace(settings)
    plan = workspace.plan(recipe_of(models, {"shallow": 0.25}, method="regmean", experts=experts))
    assert plan.title == "RegMean α=0.9, LiNeS 0.25 to 1"
    workspace.export(plan, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())["parameters"]
    assert report["bert.encoder.layer.1.output.dense.weight"]["layer_factor"] == 0.625
    assert report["bert.encoder.layer.1.output.dense.weight"]["path"] == "cholesky"
    assert "then LiNeS 0.25 to 1 by depth" in (tmp_path / "out" / "README.md").read_text()
    pinned = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert pinned["layer_scaling"] == {"shallow": 0.25}
    workspace.export(workspace.plan(parse_recipe(pinned)), tmp_path / "again")
    files = [tmp_path / out / "model.safetensors" for out in ("out", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()
