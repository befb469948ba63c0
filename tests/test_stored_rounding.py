"""Experts in half precision: what rounding made of a weight is told by the type of the file, not of the arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import Array
from safetensors.torch import save_file
from spectral_problems import singular_values

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.merging.merge import merge_once
from fusion_ui.merging.slots import SlotSource
from fusion_ui.methods.base import MergeMethod
from fusion_ui.methods.iso_c import IsoC
from fusion_ui.methods.tsv_merge import TsvMerge
from fusion_ui.solving.treatment import Treatment

NAME, SHAPE = "layer.weight", (24, 30)

TYPES = {
    "all bfloat16": (torch.bfloat16, torch.bfloat16),
    "all float16": (torch.float16, torch.float16),
    "experts bfloat16": (torch.bfloat16, torch.float32),
    "base bfloat16": (torch.float32, torch.bfloat16),
    "all float32": (torch.float32, torch.float32),
}
every_type = pytest.mark.parametrize("types", TYPES.values(), ids=TYPES)


def low_rank_source(folder: Path, rank: int, types: tuple[torch.dtype, torch.dtype]) -> SlotSource:
    """Two experts whose updates have the given rank, and their base, each rounded to the type it is stored in."""
    generator = np.random.default_rng(rank)
    base = generator.standard_normal(SHAPE)
    updates = [generator.standard_normal((24, rank)) @ generator.standard_normal((rank, 30)) for _ in range(2)]

    def write(name: str, weight: Array, dtype: torch.dtype) -> Checkpoint:
        (folder / name).mkdir()
        (folder / name / "config.json").write_text('{"architectures": ["Layer"]}')
        save_file({NAME: torch.tensor(weight).to(dtype)}, folder / name / "model.safetensors")
        return Checkpoint(name, folder / name, name)

    of_experts, of_base = types
    experts = [write(f"e{i}", base + 0.5 * update, of_experts) for i, update in enumerate(updates)]
    return SlotSource(experts, [0.5, 0.5], {}, write("base", base, of_base))


def merged_update(source: SlotSource, method: MergeMethod) -> tuple[Array, Treatment]:
    assert source.base is not None
    merged = merge_once(source, method)
    update = merged.tensors[NAME].double() - source.base.tensors.read(NAME).double()
    return update.numpy(), merged.treatments[NAME]


@every_type
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_iso_c_strengthens_no_direction_that_half_precision_made(tmp_path: Path, rank: int, types):
    source = low_rank_source(tmp_path, rank, types)
    slot = next(source.slots())
    stored = singular_values(slot.task_vectors.double().sum(0).numpy())
    assert stored[2 * rank] > 1e-7  # rounding alone, and yet a direction
    update, treatment = merged_update(source, IsoC())
    assert treatment.num_cut == min(SHAPE) - 2 * rank
    found = singular_values(update)
    np.testing.assert_allclose(found[: 2 * rank], stored[: 2 * rank].mean(), rtol=1e-5)
    np.testing.assert_allclose(found[2 * rank :], 0, atol=1e-4)


@every_type
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_tsv_merge_turns_no_direction_that_half_precision_made(tmp_path: Path, rank: int, types):
    update, treatment = merged_update(low_rank_source(tmp_path, rank, types), TsvMerge())
    # Each of two experts has room for half of the rank.
    assert treatment.num_cut == 2 * (min(SHAPE) // 2 - rank)
    found = singular_values(update)
    assert found[2 * rank - 1] > 1
    np.testing.assert_allclose(found[2 * rank :], 0, atol=1e-4)
