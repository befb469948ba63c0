"""NaN and infinity in an expert are refused by name and tensor, whatever the method and wherever they stand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import tiny_bert, write_data, write_model

from fusion_ui.errors import MergeError
from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.methods import METHODS
from fusion_ui.settings import Settings
from fusion_ui.workspace import Workspace

PLACES = ("bert.encoder.layer.0.output.dense.weight", "bert.pooler.dense.bias", "classifier.weight")
VALUES = {"NaN": torch.nan, "Inf": torch.inf}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an expert, its calibration text, and experts with one broken entry each under labels of their own."""
    folder = tmp_path_factory.mktemp("models")
    write_data(folder / "data.csv", 6)
    write_model(folder / "base", tiny_bert(9))
    whole = load_file(write_model(folder / "good", tiny_bert(0)) / "model.safetensors")
    for place in PLACES:
        for title, value in VALUES.items():
            broken = whole[place].clone()
            broken[-1] = value
            write_model(folder / f"{title}-{place}", tiny_bert(1, labels=("bad", "fine")), {place: broken})
    return folder


def plan_of(workspace: Workspace, models: Path, method: str, broken: str, heads: str) -> MergePlan:
    experts = [{"name": "good", "model": str(models / "good")}, {"name": "torn", "model": str(models / broken)}]
    experts = [expert | {"calibration": {"data": str(models / "data.csv")}} for expert in experts]
    recipe = {"method": method, "base": str(models / "base"), "heads": heads, "experts": experts}
    return workspace.plan(parse_recipe(recipe))


@pytest.mark.parametrize("heads", ["own", "union"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("method", [kind.name for kind in METHODS])
def test_every_method_refuses_the_expert_by_name_and_tensor(
    method: str, value: str, place: str, heads: str, models: Path, settings: Settings, tmp_path: Path
):
    workspace = Workspace(settings)
    plan = plan_of(workspace, models, method, f"{value}-{place}", heads)
    said = f"torn cannot be merged: its tensor {place} has entries that are not finite numbers"
    with pytest.raises(MergeError, match=said):
        workspace.merge(plan)
    with pytest.raises(MergeError, match=said):
        workspace.export(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("method", [kind.name for kind in METHODS if kind.can_prepare()])
def test_a_prepared_merge_refuses_a_head_that_stays_an_experts_own(
    method: str, value: str, models: Path, settings: Settings
):
    workspace = Workspace(settings)
    with pytest.raises(MergeError, match=r"torn cannot be merged: its tensor classifier\.weight "):
        workspace.prepare(plan_of(workspace, models, method, f"{value}-classifier.weight", "own"))
