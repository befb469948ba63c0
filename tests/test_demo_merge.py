"""The demo's four experts, merged, against a computation that shares no line with the package.

The oracle hooks every linear layer of the plain transformers model, collects the rows of real tokens text by text,
and solves RegMean's normal equations in float64 with numpy. Only the choice of sentences is given to it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from fusion_ui.statistics.sampling import sample_indices
from fusion_ui.ui.request import default_request

ALPHA = 0.9
NUM_EXAMPLES = 256
LAYERS = ["bert.encoder.layer.0.attention.self.key", "bert.encoder.layer.2.attention.output.dense"]
LAYERS += ["bert.encoder.layer.3.intermediate.dense", "bert.encoder.layer.5.output.dense", "bert.pooler.dense"]
LAYERS += ["classifier"]


def oracle_grams(directory: Path, texts: list[str]) -> dict[str, np.ndarray]:
    """G / N of some layers' inputs, float64, one text at a time, so that no padding exists."""
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in LAYERS}

    def hook(name):
        return lambda _module, inputs: rows[name].append(inputs[0].detach().numpy().reshape(-1, inputs[0].shape[-1]))

    for name in LAYERS:
        model.get_submodule(name).register_forward_pre_hook(hook(name))
    with torch.no_grad():
        for text in texts:
            model(**tokenizer(text, truncation=True, max_length=128, return_tensors="pt"))
    stacked = {name: np.concatenate(parts).astype(np.float64) for name, parts in rows.items()}
    return {name: x.T @ x / len(x) for name, x in stacked.items()}


def oracle_merge(grams: list[np.ndarray], weights: list[np.ndarray]) -> np.ndarray:
    """(sum Gt_i)^-1 sum Gt_i W_i in row convention, returned as (out, in).

    Two inputs of the pooler are 1e-32 in size (the base's last LayerNorm scales them by 1e-33): never active, so their
    weights keep the mean.
    """
    shrunk = [ALPHA * g + (1 - ALPHA) * np.diag(np.diag(g)) for g in grams]
    total = sum(shrunk)
    active = np.diag(total) > 1e-40
    merged = np.mean(weights, axis=0)
    within = np.ix_(active, active)
    right = sum(g[within] @ w.T[active] for g, w in zip(shrunk, weights, strict=True))
    merged[:, active] = np.linalg.solve(total[within], right).T
    return merged


@pytest.fixture(scope="module")
def tensors(demo) -> list[dict[str, torch.Tensor]]:
    return [load_file(expert.model / "model.safetensors") for expert in demo.experts]


@pytest.fixture(scope="module")
def plan(workspace, demo):
    return workspace.plan(default_request(demo).recipe(demo, "regmean"))


@pytest.mark.parametrize("is_prepared", [False, True], ids=["once", "prepared"])
def test_the_merge_equals_an_independent_float64_computation(workspace, plan, tensors, oracle, is_prepared):
    from fusion_ui.workspace import Workspace

    fresh = Workspace(workspace.settings)
    if is_prepared:
        fresh.prepare(plan)
    merged = fresh.merge(plan)
    for layer in LAYERS:
        name = f"{layer}.weight"
        weights = [expert[name].double().numpy() for expert in tensors]
        mean = np.mean(weights, axis=0)
        expected = oracle_merge([grams[layer] for grams in oracle], weights)
        got = merged.tensors[name].double().numpy()
        delta = max(np.linalg.norm(expected - mean), 1e-3 * np.linalg.norm(mean))
        error = np.linalg.norm(got - expected) / delta
        print(f"{name}: relative error {error:.1e}")
        assert error <= 1e-4, name
        assert np.linalg.norm(got - mean) > 1e-3 * np.linalg.norm(mean), f"{name} is still the simple mean"


def test_what_is_no_linear_weight_is_the_mean(plan, workspace, tensors):
    merged = workspace.merge(plan)
    linear = {name for name, treatment in merged.treatments.items() if treatment.path != "mean"}
    assert len(linear) == 6 * 6 + 2
    for name in set(merged.tensors) - linear:
        expected = torch.stack([expert[name].double() for expert in tensors]).mean(0)
        assert torch.allclose(merged.tensors[name].double(), expected, rtol=1e-6, atol=1e-7), name


@pytest.fixture(scope="module")
def oracle(demo) -> list[dict[str, np.ndarray]]:
    found = []
    for expert, domain in zip(demo.experts, demo.domains, strict=True):
        texts = pd.read_csv(domain.calibrate, keep_default_na=False)["text"].tolist()
        found.append(oracle_grams(expert.model, [texts[i] for i in sample_indices(len(texts), NUM_EXAMPLES, 0)]))
    return found
