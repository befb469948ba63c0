"""What a statistics file reveals, and the ways in which its owner reveals less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_bert, write_data, write_model

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import StatisticError
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.statistics.bundle import read_statistic, write_statistic
from fusion_ui.statistics.measure import measure
from fusion_ui.statistics.sharing import check_belongs, explain_revealing, find_revealing, keep_diagonals, leave_out
from fusion_ui.statistics.statistic import Statistic, StatisticKind, StatisticSettings
from fusion_ui.workspace import Workspace

ALWAYS_FEW = {"bert.pooler.dense.weight", "classifier.weight"}


@pytest.fixture
def measured(settings, tmp_path: Path) -> tuple[Checkpoint, Statistic]:
    """Twelve texts: fewer than the width of 16 for the layers that see texts, more tokens than it for the others."""
    model = write_model(tmp_path / "model", tiny_bert(0))
    checkpoint = Checkpoint("model", model, str(model))
    domain = load_domain(write_data(tmp_path / "data.csv", 12), "data")
    return checkpoint, measure(checkpoint, domain, StatisticKind.GRAM, StatisticSettings(12), settings)


def test_layers_with_fewer_rows_than_features_are_found_and_can_be_left_out(measured, tmp_path: Path):
    _, statistic = measured
    assert set(find_revealing(statistic)) == ALWAYS_FEW
    assert "2 of 8 layers saw fewer rows than they have features" in explain_revealing(statistic)
    write_statistic(tmp_path / "shared.safetensors", leave_out(statistic, find_revealing(statistic)))
    shared = read_statistic(tmp_path / "shared.safetensors")
    assert not set(shared.tensors) & ALWAYS_FEW
    assert "its owner left the Gram out: 12 rows" in shared.inputs["classifier.weight"].reason
    assert find_revealing(shared) == [] and "not anonymous" in explain_revealing(shared)


def test_diagonals_alone_serve_alpha_0_exactly_and_nothing_else(measured, settings, tmp_path: Path):
    checkpoint, statistic = measured
    other = write_model(tmp_path / "other", tiny_bert(1))
    data = str(tmp_path / "data.csv")
    full, diagonal = tmp_path / "full.safetensors", tmp_path / "diagonal.safetensors"
    write_statistic(full, statistic)
    write_statistic(diagonal, keep_diagonals(statistic))
    assert diagonal.stat().st_size < full.stat().st_size / 2
    stored = read_statistic(diagonal)
    key = "bert.pooler.dense.weight"
    assert stored.is_diagonal and torch.equal(stored.tensors[key], statistic.tensors[key].diagonal().diag())
    assert "nothing of single sentences" in explain_revealing(stored)

    def merged(file: Path, method: str = "regmean", **parameters: float) -> dict[str, torch.Tensor]:
        experts = [
            {"name": "a", "model": str(checkpoint.directory), "calibration": {"statistics": str(file)}},
            {"name": "b", "model": str(other), "calibration": {"data": data}},
        ]
        workspace = Workspace(settings)
        recipe = parse_recipe({"method": method, "parameters": parameters, "experts": experts})
        return dict(workspace.merge(workspace.plan(recipe)).tensors)

    expected = merged(full, alpha=0.0)
    for found in (merged(diagonal, alpha=0.0), merged(diagonal, "diagonal_regmean"), merged(full, "diagonal_regmean")):
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6, msg=name)
    with pytest.raises(StatisticError, match=r"hold only the diagonals.*Set alpha to 0"):
        merged(diagonal, alpha=0.5)
    experts = [{"name": "a", "model": str(checkpoint.directory), "calibration": {"statistics": str(diagonal)}}]
    plan = Workspace(settings).plan(parse_recipe({"method": "regmean", "parameters": {"alpha": 0}, "experts": experts}))
    with pytest.raises(StatisticError, match="hold only the diagonals"):  # as a sweep asks
        plan.with_parameters(alpha=0.5)


def test_a_matrix_of_another_size_than_the_layer_is_refused_before_it_is_unpacked(measured, tmp_path: Path):
    checkpoint, statistic = measured
    key = "bert.pooler.dense.weight"
    for is_diagonal in (False, True):
        wrong = replace(statistic, tensors={**statistic.tensors, key: torch.eye(17)}, is_diagonal=is_diagonal)
        write_statistic(tmp_path / "wrong.safetensors", wrong)
        with pytest.raises(StatisticError, match=r"hold a 17 x 17 matrix for bert\.pooler.*which has 16 inputs"):
            check_belongs(checkpoint, read_statistic(tmp_path / "wrong.safetensors"))
    check_belongs(checkpoint, statistic)


def test_the_file_is_at_most_half_of_naive_float32(measured, tmp_path: Path):
    _, statistic = measured
    write_statistic(tmp_path / "packed.safetensors", statistic)
    sizes = {name: len(statistic.tensors[entry.tensor]) for name, entry in statistic.inputs.items()}
    naive = sum(4 * n * n for n in sizes.values())
    packed = sum(
        read_statistic(tmp_path / "packed.safetensors").tensors[key].shape[0] * (len(t) + 1) * 2
        for key, t in statistic.tensors.items()
    )
    assert packed <= naive / 2
