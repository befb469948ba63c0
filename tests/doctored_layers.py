"""One layer whose inputs and weights are made up, examined; and the numbers that it should have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import Array
from safetensors.torch import save_file

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.merging.doctor import examine
from fusion_ui.merging.layer_report import LayerReport
from fusion_ui.merging.merge import PreparedMerge, merge_once
from fusion_ui.merging.slots import SlotSource
from fusion_ui.methods.regmean import RegMean
from fusion_ui.statistics.statistic import LinearInput, Statistic, StatisticKind, StatisticSettings


def norm(x: Array) -> float:
    return float(np.sqrt((x * x).sum()))


# One layer at a time: its inputs and weights are made up, written as checkpoints and measured as a file would hold.


def one_layer(
    folder: Path,
    rows: Sequence[Array],
    experts: Sequence[Array],
    dtype: torch.dtype = torch.float32,
    base: Array | None = None,
    coefficients: Sequence[float] | None = None,
) -> SlotSource:
    """Checkpoints of one linear weight (given as in x out) whose inputs were `rows`, Grams rounded to float32."""

    def write(name: str, weight: Array) -> Checkpoint:
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text('{"architectures": ["Layer"]}')
        save_file({"layer.weight": torch.tensor(weight.T.copy()).to(dtype)}, folder / name / "model.safetensors")
        return Checkpoint(name, folder / name, name)

    checkpoints = [write(f"e{i}", weight) for i, weight in enumerate(experts)]
    grams = [
        Statistic(
            StatisticKind.GRAM,
            checkpoint.fingerprint,
            "text",
            StatisticSettings(),
            len(x),
            len(x),
            {"x": torch.tensor(x.T @ x).float()},
            {"layer.weight": LinearInput("x", len(x))},
        )
        for checkpoint, x in zip(checkpoints, rows, strict=True)
    ]
    shares = coefficients or [1 / len(experts)] * len(experts)
    over = write("base", base) if base is not None else None
    return SlotSource(checkpoints, shares, {StatisticKind.GRAM: grams}, over)


def stored(source: SlotSource) -> list[Array]:
    """The experts as their files hold them, (in x out)."""
    return [e.tensors.read("layer.weight").double().numpy().T for e in source.experts]


def examine_layer(source: SlotSource, alpha: float, is_prepared: bool) -> tuple[Array, LayerReport]:
    """The merged weight (in x out) and its report."""
    method = RegMean(alpha=alpha)
    merged = PreparedMerge(source, RegMean).merge(method) if is_prepared else merge_once(source, method)
    (report,) = examine(source, merged, method)
    assert report.path == merged.treatments["layer.weight"].path
    return merged.tensors["layer.weight"].double().numpy().T, report


def make_rows(seed: int, num_rows: int, num_in: int) -> list[Array]:
    """Two experts' inputs, whose features differ in size by up to 2^6."""
    generator = np.random.default_rng(seed)
    scale = 2.0 ** generator.integers(-3, 4, num_in)
    return [generator.standard_normal((num_rows, num_in)) * scale for _ in range(2)]


def make_experts(seed: int, num_in: int, num_experts: int = 2) -> list[Array]:
    """Weights that have a large part in common, as fine-tuned ones do."""
    generator = np.random.default_rng(seed)
    common = generator.standard_normal((num_in, 3))
    return [common + 0.1 * generator.standard_normal((num_in, 3)) for _ in range(num_experts)]


every_path = pytest.mark.parametrize("is_prepared", [False, True], ids=["once", "prepared"])


def normalised(grams: Sequence[tuple[Array, int]], coefficients: Sequence[float]) -> Array:
    return sum(c * gram / count for (gram, count), c in zip(grams, coefficients, strict=True))


def with_alpha(total: Array, alpha: float) -> Array:
    return alpha * total + (1 - alpha) * np.diag(np.diag(total))


def condition_before(rows: Sequence[Array], coefficients: Sequence[float], alpha: float) -> float:
    total = normalised([(x.T @ x, len(x)) for x in rows], coefficients)
    return float(np.linalg.cond(with_alpha(total, alpha)))
