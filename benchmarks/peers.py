"""Our methods against mergekit's on the same random tensors: the largest relative difference, and where it is meant.

To add a row, name our method, mergekit's, and the parameters of both in `CASES`.
"""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.peer import PEER, install_peer
from fusion_ui.methods import make_method
from fusion_ui.methods.slot import ParameterSlot

SHAPES = {"matrix": (250, 400), "embedding": (2000, 50), "vector": (1000,)}
"""Hundreds of entries, so that shares of them are whole numbers."""
FURTHEST = 100_000
"""How far an entry moves at most, in the unit of `make_tensors`."""
WEIGHTS = (0.2137, 0.3071, 0.4792)
"""Odd ones, so that no vote on signs is a tie, in which mergekit elects plus and ours nobody."""
MAX_DIFFERENCE, MAX_CHANCE = 1e-5, 0.02
RANDOM = "masks are random: shares of entries kept and lengths of the update, of the two large tensors, are compared"


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        method, parameters: ours.
        peer, peer_parameters: mergekit's; weights and base are filled in.
        remark: why the two may differ, or what was set so that they do not.
        weights: of the experts, summing to one.
        takes_weights: mergekit's method has a `weight` for every expert.
        base: the model that mergekit calls base; None for none, an expert for methods that merge it with another.
        is_random: compare what the two keep on average, not entry by entry.
        limit: of the difference; above `MAX_DIFFERENCE` only where the remark says why.
    """

    method: str
    parameters: dict[str, Any]
    peer: str
    peer_parameters: dict[str, Any]
    remark: str = ""
    weights: tuple[float, ...] = WEIGHTS
    takes_weights: bool = True
    base: str | None = "base"
    is_random: bool = False
    limit: float = MAX_DIFFERENCE

    @property
    def experts(self) -> list[str]:
        return [f"expert{i}" for i in range(len(self.weights))]

    @property
    def job(self) -> dict[str, Any]:
        """What mergekit is asked to do."""
        models = ["base", *self.experts] if self.base == "base" else self.experts
        shares = {expert: len(self.weights) * w for expert, w in zip(self.experts, self.weights, strict=True)}
        weight = {"weight": shares} if self.takes_weights else {}
        return {
            "method": self.peer,
            "models": models,
            "base": self.base,
            "parameters": self.peer_parameters | weight,
        }


ONE = (1.0,)
CASES = (
    Case("task_arithmetic", {"scaling_coefficient": 0.3}, "task_arithmetic", {"lambda": 0.3}),
    Case("ties", {"density": 0.2}, "ties", {"density": 0.2}, "no two magnitudes are equal: ours would keep both"),
    Case("ties", {"density": 0.7, "scaling_coefficient": 0.5}, "ties", {"density": 0.7, "lambda": 0.5}),
    Case("dare", {"density": 1}, "dare_linear", {"density": 1.0, "lambda": 0.3}, "nothing dropped"),
    Case(
        "dare",
        {"density": 0.3, "scaling_coefficient": 1},
        "dare_linear",
        {"density": 0.3},
        f"{RANDOM}; ours divides by the density, theirs restores the sum of magnitudes",
        weights=ONE,
        is_random=True,
    ),
    Case(
        "dare_ties",
        {"density": 1},
        "dare_ties",
        {"density": 1.0, "normalize": True},
        "nothing dropped; theirs adds up what agrees unless normalize is set, as it is here",
    ),
    Case(
        "dare_ties",
        {"density": 0.3},
        "dare_ties",
        {"density": 0.3, "normalize": True},
        RANDOM,
        weights=ONE,
        is_random=True,
    ),
    Case(
        "breadcrumbs",
        {"drop_smallest": 0.9, "drop_largest": 0.01},
        "breadcrumbs",
        {"density": 0.09, "gamma": 0.01, "lambda": 0.3},
        "theirs takes the share kept where ours takes the share of small entries dropped",
    ),
    Case("della", {"density": 1}, "della", {"density": 1.0}, "nothing dropped"),
    Case(
        "della",
        {"density": 0.5, "window": 0.3},
        "della",
        {"density": 0.5, "epsilon": 0.15},
        f"{RANDOM}; their epsilon is half of our window; ours divides every entry by its own chance, as the paper",
        weights=ONE,
        is_random=True,
    ),
    Case("model_stock", {}, "model_stock", {}, weights=(1 / 3,) * 3, takes_weights=False),
    Case(
        "slerp",
        {},
        "slerp",
        {"t": 0.7},
        "theirs takes the angle from a float32 cosine near 1, which keeps few of its digits; ours is float64's",
        weights=(0.3, 0.7),
        takes_weights=False,
        base="expert0",
        limit=1e-4,
    ),
    Case(
        "karcher",
        {},
        "karcher",
        {},
        "theirs iterates in float32 until a step is below 1e-5; ours is float64's",
        weights=(1 / 3,) * 3,
        takes_weights=False,
        base=None,
        limit=1e-4,
    ),
)


def main() -> None:
    tensors = make_tensors()
    theirs = merge_by_peer([case.job for case in CASES], tensors)
    print(f"\nLargest difference from {PEER} on the same tensors, relative to the largest change from the base")
    print(
        "| method | parameters | mergekit | parameters | difference | limit | remark |\n|---|---|---|---|---|---|---|"
    )
    for case, merged in zip(CASES, theirs, strict=True):
        difference, limit = compare(case, tensors, merged), MAX_CHANCE if case.is_random else case.limit
        verdict = "held" if difference <= limit else "MISSED"
        ours, peers = _list(case.parameters), _list(case.peer_parameters)
        cells = [case.method, ours, case.peer, peers, f"{difference:.1e}", f"{limit:g}: {verdict}", case.remark]
        print(f"| {' | '.join(cells)} |")


def make_tensors() -> dict[str, Tensor]:
    """Model/tensor -> float32 values: a base, and experts that moved a little away from it, mostly the same way.

    All are multiples of 2^-20, so that differences are exact, and no two entries of one expert moved equally far: of
    equal magnitudes mergekit's trimming keeps any.
    """
    generator, unit = torch.Generator().manual_seed(0), 2.0**-20
    tensors = {}
    for name, shape in SHAPES.items():
        base = unit * torch.randint(-(2**20), 2**20, shape, generator=generator)
        num_entries = math.prod(shape)
        common_sign = 2.0 * torch.randint(2, shape, generator=generator) - 1
        tensors[f"base/{name}"] = base
        for i in range(len(WEIGHTS)):
            steps = 1.0 + torch.randperm(num_entries, generator=generator).reshape(shape)
            distance = steps * (FURTHEST // num_entries)
            turns = torch.where(torch.rand(shape, generator=generator) < 0.2, -1.0, 1.0)
            tensors[f"expert{i}/{name}"] = base + unit * common_sign * turns * distance
    return tensors


def merge_by_peer(jobs: list[dict[str, Any]], tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Tensor name -> merged, for each job, by mergekit in a process of its own."""
    program = install_peer() / "python"
    with tempfile.TemporaryDirectory() as name:
        asked, given, out = (Path(name) / file for file in ("jobs.json", "given.safetensors", "out.safetensors"))
        asked.write_text(json.dumps(jobs))
        save_file(dict(tensors), given)
        script = Path(__file__).with_name("merge_by_peer.py")
        subprocess.run([program, script, asked, given, out], check=True)
        merged = load_file(out)
    return [{shape: merged[f"{number}/{shape}"] for shape in SHAPES} for number in range(len(jobs))]


def compare(case: Case, tensors: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """The largest difference over the tensors, between entries or, for random masks, between averages."""
    method, differences = make_method(case.method, case.parameters), []
    for name in SHAPES:
        experts = torch.stack([tensors[f"{expert}/{name}"] for expert in case.experts])
        base = tensors[f"base/{name}"]
        ours, _ = method.merge_parameter(ParameterSlot(name, experts, case.weights, base, seeds=(0, 1, 2)))
        a, b = ours - base, theirs[name] - base
        if not case.is_random:
            differences.append(((a - b).abs().max() / b.abs().max()).item())
        elif name != "vector":
            averages = [(t != 0).double().mean() for t in (a, b)], [t.abs().double().mean() for t in (a, b)]
            differences += [(abs(x - y) / y).item() for x, y in averages]
    return max(differences)


def _list(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in parameters.items())


if __name__ == "__main__":
    main()
