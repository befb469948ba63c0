"""A new alpha's merged weights: ours against the published recipe, `torch.inverse` for every layer, on the same Grams.

Both run in this process, in turn, on the demo's four experts. The error is that of the change from the simple mean,
against a float64 solution, over all linear layers.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from benchmarks.timing import report
from fusion_ui.merging.plan import measure_statistics
from fusion_ui.progress import Progress
from fusion_ui.settings import read_settings
from fusion_ui.statistics.statistic import StatisticKind
from fusion_ui.ui.request import default_request
from fusion_ui.workspace import Workspace

ALPHAS = [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95]


def published(grams: list[Tensor], weights: list[Tensor], alpha: float) -> Tensor:
    """The released way: shrink, sum, invert, multiply, in the dtype of the Grams; every layer by itself."""
    shrunk = [alpha * gram + (1 - alpha) * torch.diag(gram.diagonal()) for gram in grams]
    total = torch.stack(shrunk).sum(0)
    right = torch.stack([gram @ weight.T for gram, weight in zip(shrunk, weights, strict=True)]).sum(0)
    return (torch.inverse(total) @ right).T


def exact(grams: list[Tensor], weights: list[Tensor], mean: Tensor, alpha: float) -> Tensor:
    """Float64, scaled, in delta form; features never active keep the mean."""
    shrunk = [alpha * gram + (1 - alpha) * torch.diag(gram.diagonal()) for gram in (g.double() for g in grams)]
    total = torch.stack(shrunk).sum(0)
    diagonal = total.diagonal()
    scale = torch.where(diagonal > 1e-30 * diagonal.max(), diagonal.rsqrt(), 0.0)
    right = sum(g @ (w.double() - mean).T for g, w in zip(shrunk, weights, strict=True))
    matrix = scale[:, None] * total * scale
    matrix.diagonal().fill_(1.0)
    return mean + (scale[:, None] * torch.linalg.solve(matrix, scale[:, None] * right)).T


def main() -> None:
    workspace = Workspace(read_settings())
    project = workspace.prepare_demo()
    plan = workspace.plan(default_request(project).recipe(project, "regmean"))
    measured = measure_statistics(plan, workspace.settings, Progress())[StatisticKind.GRAM]
    started = time.perf_counter()
    workspace.prepare(plan)
    seconds = time.perf_counter() - started
    print(f"\nA new alpha on the demo: 38 linear layers, four experts; factorised once in {seconds:.1f} s")
    names = [name for name, entry in measured[0].inputs.items() if entry.tensor]
    grams = {name: [s.tensors[s.inputs[name].tensor] / s.inputs[name].num_rows for s in measured] for name in names}
    weights = {name: [expert.tensors.read(name) for expert in plan.experts] for name in names}
    ours_seconds, peer_seconds, ours_errors, peer_errors = [], [], [], []
    for alpha in [0.5, *ALPHAS]:  # the first is the warm-up
        started = time.perf_counter()
        merged = workspace.merge(plan.with_parameters(alpha=alpha))
        ours_seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        peer = {name: published(grams[name], weights[name], alpha) for name in names}
        peer_seconds.append(time.perf_counter() - started)
        if alpha in (ALPHAS[0], ALPHAS[5], ALPHAS[-1]):
            for name in names:
                mean = torch.stack(weights[name]).double().mean(0)
                oracle = exact(grams[name], weights[name], mean, alpha)
                size = max((oracle - mean).norm().item(), 1e-3 * mean.norm().item())
                ours_errors.append(((merged.tensors[name].double() - oracle).norm() / size).item())
                peer_errors.append(((peer[name].double() - oracle).norm() / size).item())
    report("ours: one product in the eigenbasis", ours_seconds[1:], 0.3)
    report("published: torch.inverse for every layer", peer_seconds[1:])
    ratio = statistics.median(p / o for p, o in zip(peer_seconds[1:], ours_seconds[1:], strict=True))
    print(f"ratio, median of pairs: {ratio:.1f} times   limit 10 times: {'held' if ratio >= 10 else 'MISSED'}")
    finite = [error for error in peer_errors if error == error and error != float("inf")]
    print(f"relative error against float64, worst layer: ours {max(ours_errors):.1e}, published {max(finite):.1e}")
    print(f"    median layer: ours {statistics.median(ours_errors):.1e}, published {statistics.median(finite):.1e}")
    if len(finite) < len(peer_errors):
        count = len(peer_errors) - len(finite)
        print(f"    the published recipe gave no finite weights for {count} of {len(peer_errors)}")


if __name__ == "__main__":
    main()
