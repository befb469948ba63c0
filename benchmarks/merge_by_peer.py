"""Run by mergekit's own Python: the merges of a list of jobs, by mergekit's registered methods.

Usage: python merge_by_peer.py JOBS.json TENSORS.safetensors OUT.safetensors
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from mergekit.merge_methods import registry
from mergekit.merge_methods.base import TensorGroup
from safetensors.torch import load_file, save_file


def main(jobs: Path, tensors: Path, out: Path) -> None:
    given, merged = load_file(tensors), {}
    shapes = sorted({name.partition("/")[2] for name in given})
    for number, job in enumerate(json.loads(jobs.read_text())):
        torch.manual_seed(number)
        models = job["models"]
        base = models.index(job["base"]) if job["base"] else None
        for shape in shapes:
            values = [given[f"{model}/{shape}"] for model in models]
            group = TensorGroup.from_tensors(values, ids=models, base_index=base)
            (tensor,) = registry.get(job["method"])([group], parameters=job["parameters"])
            merged[f"{number}/{shape}"] = tensor.contiguous()
    save_file(merged, out)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
