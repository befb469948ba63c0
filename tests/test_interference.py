"""How the experts' changes lie to each other, against numpy, entry by entry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_bert, write_data, write_experts, write_model

import fusion_ui.merging.interference
from fusion_ui.merging.interference import measure_interference
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.settings import Settings
from fusion_ui.workspace import Workspace


def make_slot(seed: int, num_experts: int, has_base: bool, zeros: float = 0.3) -> tuple[ParameterSlot, np.ndarray]:
    """A slot and the experts' changes as float64, some of them exactly zero where there is a base."""
    numbers = np.random.default_rng(seed)
    base = numbers.standard_normal((5, 7)).astype(np.float32)
    changes = numbers.standard_normal((num_experts, 5, 7)) * (numbers.random((num_experts, 5, 7)) > zeros)
    experts = (base + 0.1 * changes).astype(np.float32)
    weights = numbers.random(num_experts) + 0.1
    weights /= weights.sum()
    mean = np.tensordot(weights, experts.astype(np.float64), 1)
    start = base.astype(np.float64) if has_base else mean
    stacked, own = torch.tensor(experts), torch.tensor(base) if has_base else None
    return ParameterSlot("w", stacked, tuple(weights.tolist()), base=own), experts.astype(np.float64) - start


@given(seed=st.integers(0, 10_000), num_experts=st.integers(2, 5), has_base=st.booleans())
def test_every_number_equals_numpys(seed: int, num_experts: int, has_base: bool):
    # About their mean, entries that nobody changed are zero but for rounding, which the oracle cannot tell.
    slot, changes = make_slot(seed, num_experts, has_base, 0.3 if has_base else 0.0)
    found = measure_interference(slot)
    start = slot.experts[0].double().numpy() - changes[0]
    assert len(found.pairs) == num_experts * (num_experts - 1) // 2 and found.is_from_base == has_base
    for i, j in found.pairs:
        a, b = changes[i], changes[j]
        assert found.cosine(i, j) == pytest.approx((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-9)
        assert found.distance(i, j) == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(start))
        both = (a != 0) & (b != 0)
        opposed = sum(1 for x, y in zip(a[both], b[both], strict=True) if x * y < 0)
        assert found.opposed(i, j) == pytest.approx(opposed / both.sum())


@given(seed=st.integers(0, 10_000))
def test_parts_add_up_to_the_whole_and_blocks_change_nothing(seed: int):
    slot, _ = make_slot(seed, 3, True)
    base = slot.base
    assert base is not None
    parts = [ParameterSlot("w", slot.experts[:, rows], slot.weights, base=base[rows]) for rows in ([0, 1], [2, 3, 4])]
    whole, added = measure_interference(slot), measure_interference(parts[0]) + measure_interference(parts[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusion_ui.merging.interference, "BLOCK", 4)
        blocks = measure_interference(slot)
    for other in (added, blocks):
        assert (other.num_both, other.num_opposed) == (whole.num_both, whole.num_opposed)
        assert np.array(other.products) == pytest.approx(np.array(whole.products))
        assert other.size == pytest.approx(whole.size)


def test_what_nobody_changed_has_no_direction():
    same = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    found = measure_interference(ParameterSlot("w", same.expand(3, 4, 3), (0.2, 0.3, 0.5)))
    assert found.mean_cosine is None and found.opposed(0, 1) is None and found.distance(0, 1) == 0
    moved = measure_interference(ParameterSlot("w", same.expand(2, 4, 3), (0.5, 0.5), base=same + 1))
    assert moved.cosine(0, 1) == pytest.approx(1) and moved.opposed(0, 1) == 0 and moved.distance(0, 1) == 0
    zero = torch.zeros(2, 2)
    assert measure_interference(ParameterSlot("w", zero.expand(2, 2, 2), (0.5, 0.5))).distance(0, 1) is None


def test_a_base_that_only_explains_changes_no_merge(settings: Settings, tmp_path: Path):
    workspace, models = Workspace(settings), write_experts(tmp_path, 3)
    base = write_model(tmp_path / "base", tiny_bert(9))
    data = write_data(tmp_path / "data.csv", 20)
    experts = [{"name": m.name, "model": str(m), "calibration": {"data": str(data)}} for m in models]
    recipe = {"method": "regmean", "experts": experts}
    plan = workspace.plan(parse_recipe(recipe))
    plain, explained = workspace.examine(plan), workspace.examine(plan, base=base)
    named = workspace.examine(workspace.plan(parse_recipe(recipe | {"base": str(base)})))
    assert not any(report.interference.is_from_base for report in plain)
    assert [r.interference for r in explained] == [r.interference for r in named]
    assert all(report.interference.is_from_base for report in explained)
    assert [r.movement.from_mean for r in explained] == pytest.approx([r.movement.from_mean for r in plain], abs=1e-6)
