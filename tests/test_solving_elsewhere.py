"""Normal equations that lie on a GPU are solved there, and the merge comes home: tried on a GPU that is pretended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pretend_gpu import pretend_gpu
from test_single_precision import slot_with
from tiny_models import write_data, write_experts

from fusion_ui.merging import placement
from fusion_ui.merging.merge import MergedModel
from fusion_ui.merging.placement import NO_ROOM
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.methods.base import Merged
from fusion_ui.methods.regmean import RegMean
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.settings import Settings
from fusion_ui.solving import known_alphas
from fusion_ui.solving.conditioning import measure_conditioning
from fusion_ui.solving.normal_equations import NormalEquations
from fusion_ui.workspace import Workspace


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    with pretend_gpu() as device:
        yield device


def moved(slot: ParameterSlot, device: torch.device) -> ParameterSlot:
    known = slot.equations
    assert known is not None
    grams = tuple(gram.to(device) for gram in known.grams)
    equations = NormalEquations(grams, known.num_rows, known.weights, known.rounding, known.dtype)
    return ParameterSlot(slot.name, slot.experts.to(device), slot.weights, is_linear=True, equations=equations)


def test_tensors_of_two_devices_do_not_mix(gpu: torch.device):
    there = torch.ones(2, 2).to(gpu)
    assert there.device == gpu and (there * 2.0).cpu().tolist() == [[2.0, 2.0]] * 2
    with pytest.raises(RuntimeError, match="two devices"):
        there + torch.ones(2, 2)
    assert torch.zeros(2, device=gpu).add_(there[0]).cpu().tolist() == [1.0, 1.0]


@pytest.mark.parametrize("alphas", [[0.5], [0.2, 0.6], [0.0, 0.3, 0.9, 1.0], [k / 30 for k in range(1, 29)]], ids=len)
def test_every_way_of_solving_stays_where_the_grams_are(
    gpu: torch.device, monkeypatch: pytest.MonkeyPatch, alphas: list[float]
):
    if len(alphas) > 10:
        monkeypatch.setattr(known_alphas, "num_worth_a_spectrum", lambda width: 10**6)
    slot, settings = slot_with(1e3), [RegMean(alpha=alpha) for alpha in alphas]
    there = moved(slot, gpu)
    here, finish = RegMean.prepare_parameter(slot, settings), RegMean.prepare_parameter(there, settings)
    for setting in settings:
        for (expected, how), (found, same) in (
            (here(setting), finish(setting)),
            (setting.merge_parameter(slot), setting.merge_parameter(there)),
        ):
            assert torch.equal(found.cpu(), expected) and same == how
        assert finish(setting)[0].device.type == "cpu", "what is kept for the next alpha is not kept on a GPU"
    assert slot.equations is not None and there.equations is not None
    assert measure_conditioning(there.equations, 0.9) == measure_conditioning(slot.equations, 0.9)


@pytest.mark.parametrize("has_room", [True, False], ids=["with room", "without room"])
def test_what_is_prepared_on_the_way_is_the_same(gpu: torch.device, monkeypatch: pytest.MonkeyPatch, has_room: bool):
    def prepare(there: ParameterSlot) -> Callable[[Any], Merged]:
        places.append(there.experts.device.type)
        if there.experts.device == gpu and not has_room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return RegMean.prepare_parameter(there)

    slot, places, method = slot_with(1.0), list[str](), RegMean(alpha=0.7)
    monkeypatch.setattr(placement, "find_device", lambda: gpu)
    tensor, treatment = placement.Placement(RegMean).prepare(slot, prepare)(method)
    assert places == (["meta"] if has_room else ["meta", "cpu"])
    assert torch.equal(tensor, RegMean.prepare_parameter(slot)(method)[0])
    assert treatment.path == "eigen" and treatment.reason == ("" if has_room else NO_ROOM)


@pytest.mark.parametrize("method", ["regmean", "diagonal_regmean", "regmean_plusplus"])
@pytest.mark.parametrize("has_room", [True, False], ids=["with room", "without room"])
def test_a_merge_is_the_same_and_comes_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str, has_room: bool
):
    experts = []
    for i, model in enumerate(write_experts(tmp_path / "models")):
        data = write_data(model.parent / f"d{i}.csv", 40, seed=i)
        experts.append({"name": f"d{i}", "model": str(model), "calibration": {"data": str(data)}})
    recipe = parse_recipe({"method": method, "experts": experts, "statistics": {"num_examples": 20}})

    def merge() -> MergedModel:
        workspace = Workspace(Settings(cache_dir=tmp_path / "cache", num_threads=1))
        workspace.measure(plan := workspace.plan(recipe))
        return workspace.merge(plan)

    expected = merge()
    places = list[str]()

    def factor(self: NormalEquations, alpha: float) -> torch.Tensor | None:
        places.append(self.device.type)
        if not has_room and self.device.type != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return known_factor(self, alpha)

    known_factor = NormalEquations.factor
    monkeypatch.setattr(NormalEquations, "factor", factor)
    with pretend_gpu() as device:
        monkeypatch.setattr(placement, "find_device", lambda: device)
        found = merge()
    assert expected.tensors.keys() == found.tensors.keys()
    for name, tensor in found.tensors.items():
        assert type(tensor) is torch.Tensor and torch.equal(tensor, expected.tensors[name]), name
    assert ("meta" in places) == (method != "diagonal_regmean")
    solved = [treatment for treatment in found.treatments.values() if treatment.path == "cholesky"]
    assert all((treatment.reason == NO_ROOM) != has_room for treatment in solved)
