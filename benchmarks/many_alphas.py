"""Merged weights at 1, 5 and 20 alphas: ours, a direct Cholesky solution, and the published recipe's `torch.inverse`.

Once on the Gram matrices of the demo's four experts, MiniLM with inputs of 384 and 1,536 features, and once on those of
one layer of BERT-base, 768 and 3,072 features, whose weights cannot be had here: activations are drawn with a common
direction and features of many scales, as a LayerNorm leaves them. All three run in turn, in this process, on the same
numbers, layers that see the same input known to ours alone. The error is that of the change from the simple mean,
against a float64 solution at alpha 0.9, over all layers.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.alpha import exact, published
from benchmarks.timing import report
from fusion_ui.merging.plan import measure_statistics
from fusion_ui.methods.regmean import RegMean
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.progress import Progress
from fusion_ui.settings import read_settings
from fusion_ui.solving.normal_equations import NormalEquations
from fusion_ui.statistics.statistic import StatisticKind
from fusion_ui.ui.request import default_request
from fusion_ui.workspace import Workspace

COUNTS = {1: 5, 5: 3, 20: 3}
"""How many alphas, and how many times all is run with so many."""


@dataclass(frozen=True)
class Input:
    """Four experts' Gram matrices of one input, already divided by their rows, and the weights that read it."""

    grams: list[Tensor]
    weights: list[list[Tensor]]


def ours(inputs: Sequence[Input], alphas: Sequence[float]) -> list[Tensor]:
    """As `fusion-ui merge` and `fusion-ui sweep` do it."""
    merged = []
    for seen in inputs:
        shares = (1 / len(seen.grams),) * len(seen.grams)
        equations = NormalEquations(tuple(seen.grams), (1,) * len(seen.grams), shares)
        for weights in seen.weights:
            slot = ParameterSlot("weight", torch.stack(weights), shares, is_linear=True, equations=equations)
            settings = [RegMean(alpha=alpha) for alpha in alphas]
            if len(settings) == 1:
                merged.append(settings[0].merge_parameter(slot)[0])
                continue
            finish = RegMean.prepare_parameter(slot, settings)
            merged += [finish(setting)[0] for setting in settings]
    return merged


def direct(inputs: Sequence[Input], alphas: Sequence[float]) -> list[Tensor]:
    """The formula as printed by one Cholesky factorisation in float64, every weight and every alpha by itself."""
    return [_direct(seen.grams, weights, alpha) for seen in inputs for weights in seen.weights for alpha in alphas]


def _direct(grams: list[Tensor], weights: list[Tensor], alpha: float) -> Tensor:
    shrunk = [alpha * gram.double() + (1 - alpha) * torch.diag(gram.diagonal().double()) for gram in grams]
    total = torch.stack(shrunk).sum(0)
    right = torch.stack([gram @ weight.double().T for gram, weight in zip(shrunk, weights, strict=True)]).sum(0)
    factor, _ = torch.linalg.cholesky_ex(total)
    return torch.cholesky_solve(right, factor).T.float()


def inverse(inputs: Sequence[Input], alphas: Sequence[float]) -> list[Tensor]:
    """The published recipe, every weight and every alpha by itself."""
    return [published(seen.grams, weights, alpha) for seen in inputs for weights in seen.weights for alpha in alphas]


def demo_inputs() -> list[Input]:
    """The inputs of MiniLM's layers in the demo."""
    workspace = Workspace(read_settings())
    project = workspace.prepare_demo()
    plan = workspace.plan(default_request(project).recipe(project, "regmean"))
    measured = measure_statistics(plan, workspace.settings, Progress())[StatisticKind.GRAM]
    readers: dict[str, list[str]] = {}
    for name, entry in measured[0].inputs.items():
        if entry.tensor:
            readers.setdefault(entry.tensor, []).append(name)
    return [
        Input(
            [s.tensors[key].float() / s.inputs[names[0]].num_rows for s in measured],
            [[expert.tensors.read(name) for expert in plan.experts] for name in names],
        )
        for key, names in readers.items()
    ]


def bert_inputs() -> list[Input]:
    """The inputs of a layer of BERT-base's shape."""
    torch.manual_seed(0)
    inputs = []
    for width, readers in ((768, (768,) * 3), (768, (768,)), (768, (3072,)), (3072, (768,))):
        scale, common = torch.exp(torch.randn(width)), torch.randn(width)
        grams = []
        for _ in range(4):
            rows = (torch.randn(2 * width, width) + 2 * torch.randn(2 * width, 1) + common) * scale
            grams.append(rows.T @ rows / len(rows))
        weights = [torch.randn(out, width) / width**0.5 for out in readers]
        inputs.append(Input(grams, [[w + 0.02 * torch.randn_like(w) for _ in grams] for w in weights]))
    return inputs


def largest_error(merge: Callable[..., list[Tensor]], inputs: Sequence[Input]) -> float:
    """Of any layer at alpha 0.9; infinity where a solution has entries that are no numbers."""
    errors, merged = [], merge(inputs, [0.9])
    pairs = [(seen.grams, weights) for seen in inputs for weights in seen.weights]
    for tensor, (grams, weights) in zip(merged, pairs, strict=True):
        mean = torch.stack(weights).double().mean(0)
        oracle = exact(grams, weights, mean, 0.9)
        size = max((oracle - mean).norm().item(), 1e-3 * mean.norm().item())
        error = ((tensor.double() - oracle).norm() / size).item()
        errors.append(error if error == error else float("inf"))
    return max(errors)


def compare(title: str, inputs: Sequence[Input]) -> None:
    """Seconds of the three, in turn, and how they compare."""
    ways = {"ours": ours, "direct Cholesky, float64": direct, "published: torch.inverse": inverse}
    print(f"\n{title}")
    for name, way in ways.items():
        print(f"largest relative error at alpha 0.9, {name}: {largest_error(way, inputs):.1e}")
    for count, num_runs in COUNTS.items():
        alphas = [0.9] if count == 1 else torch.linspace(0.05, 0.95, count).tolist()
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(num_runs):
            for name, way in ways.items():
                started = time.perf_counter()
                way(inputs, alphas)
                seconds[name].append(time.perf_counter() - started)
        for name, taken in seconds.items():
            report(f"k = {count}: {name}", taken)
        own, others = seconds["ours"], [taken for name, taken in seconds.items() if name != "ours"]
        ratios = [statistics.median(t / o for t, o in zip(taken, own, strict=True)) for taken in others]
        verdict = "held" if max(ratios) >= 1 else "MISSED"
        print(f"    others / ours: {ratios[0]:.2f} and {ratios[1]:.2f}   never the slowest: {verdict}")
        if count == max(COUNTS):
            print(f"    published / ours: {ratios[1]:.1f}   limit 5: {'held' if ratios[1] >= 5 else 'MISSED'}")


def main() -> None:
    compare("MiniLM, all 38 linear layers of the demo", demo_inputs())
    compare("One layer of BERT-base's shape, four experts", bert_inputs())


if __name__ == "__main__":
    main()
