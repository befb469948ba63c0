"""Gram matrices of real architectures: what is counted, what is shared, and how Conv1D weights are merged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
from architectures import ARCHITECTURES
from tiny_models import random_tokens, tiny_bert, tiny_gpt2, write_model
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.batches import Batch, EncodedText, make_batches
from fusion_ui.merging.merge import PreparedMerge, merge_once
from fusion_ui.merging.slots import SlotSource
from fusion_ui.methods.regmean import RegMean
from fusion_ui.progress import Progress
from fusion_ui.statistics.gram import accumulate_grams, linear_modules
from fusion_ui.statistics.statistic import LinearInput, Statistic, StatisticKind, StatisticSettings

Measured = tuple[Mapping[str, Tensor], Mapping[str, LinearInput]]
TOKENS = random_tokens(9, seed=1)
TEXTS = [EncodedText(ids) for ids in TOKENS]
LAYER = "bert.encoder.layer.0"


def measure(model: nn.Module, *, max_tokens: int = 40, num_padding: int = 0, count_padding: bool = False) -> Measured:
    """Grams of `model` on `TOKENS`, in batches of some size, each padded further by some columns."""
    batches = [_pad(batch, num_padding) for batch in make_batches(TEXTS, range(len(TEXTS)), 0, max_tokens)]
    return accumulate_grams(model, batches, count_padding, Progress())


def _pad(batch: Batch, num_columns: int) -> Batch:
    def pad(values: Tensor) -> Tensor:
        return nn.functional.pad(values, (0, num_columns))

    return Batch(batch.indices, pad(batch.input_ids), pad(batch.attention_mask))


def difference(gram: Tensor, expected: np.ndarray) -> float:
    """Largest error, each entry relative to sqrt(G_ii G_jj)."""
    norms = np.sqrt(np.maximum(np.diag(expected), 1e-12))
    return float(np.abs((gram.numpy() - expected) / np.outer(norms, norms)).max())


@pytest.fixture(scope="module", params=[tiny_bert, tiny_gpt2], ids=["bert", "gpt2"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    return request.param(seed=2)


@pytest.fixture(scope="module")
def bert() -> nn.Module:
    return tiny_bert(seed=2)


def test_every_gram_equals_a_loop_over_single_tokens(model):
    grams, inputs = measure(model)
    expected = oracles.grams_by_loop(model, TOKENS)
    assert set(inputs) == set(expected) == set(linear_modules(model))
    for name, (gram, num_rows) in expected.items():
        found = grams[inputs[name].tensor]
        assert (inputs[name].num_rows, inputs[name].reason) == (num_rows, "")
        assert found.dtype == torch.float64 and torch.equal(found, found.T)
        assert difference(found, gram) < 1e-5, name


@pytest.mark.parametrize(("max_tokens", "num_padding"), [(1, 0), (10**6, 0), (40, 7), (1, 5)])
def test_neither_batch_size_nor_appended_padding_changes_a_gram(model, max_tokens: int, num_padding: int):
    grams, inputs = measure(model)
    others, other_inputs = measure(model, max_tokens=max_tokens, num_padding=num_padding)
    assert inputs == other_inputs
    for key, gram in grams.items():
        assert difference(others[key], gram.numpy()) < 1e-5, key


def test_counting_padding_is_another_thing(model):
    grams, inputs = measure(model, num_padding=3)
    padded, padded_inputs = measure(model, num_padding=3, count_padding=True)
    num_tokens = sum(map(len, TOKENS))
    for name, entry in inputs.items():
        if entry.num_rows == num_tokens:  # not the layers that see one row a text
            assert padded_inputs[name].num_rows > num_tokens
            assert difference(padded[entry.tensor], grams[entry.tensor].numpy()) > 0.01


def test_query_key_and_value_share_one_gram_and_others_do_not(bert):
    grams, inputs = measure(bert)
    attention = f"{LAYER}.attention.self"
    shared = {inputs[f"{attention}.{name}.weight"].tensor for name in ("query", "key", "value")}
    assert len(shared) == 1
    assert len(grams) == len(inputs) - 2


def test_most_layers_count_tokens_but_pooler_and_classifier_count_texts(bert):
    _, inputs = measure(bert)
    num_rows = {name: entry.num_rows for name, entry in inputs.items()}
    assert num_rows.pop("bert.pooler.dense.weight") == len(TOKENS)
    assert num_rows.pop("classifier.weight") == len(TOKENS)
    assert set(num_rows.values()) == {sum(map(len, TOKENS))}


def test_a_layer_never_called_says_so_instead_of_having_a_gram(bert):
    model = tiny_bert(seed=2)
    model.bert.unused = nn.Linear(3, 3)
    grams, inputs = measure(model)
    assert inputs["bert.unused.weight"] == LinearInput("", 0, False, "the layer was never called")
    assert len(grams) == len(measure(bert)[0])


class TwoInputs(nn.Module):
    """As DeBERTa-v2: one projection is called on the tokens and on relative positions, which are no tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(50, 4), nn.Parameter(torch.randn(1, 64, 4))
        self.projection = nn.Linear(4, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.projection(self.embedding(input_ids)).sum() + self.projection(self.positions).sum()


def test_inputs_that_are_no_tokens_are_left_out_and_reported():
    model = TwoInputs().requires_grad_(False)
    grams, inputs = measure(model)
    x = torch.cat([model.embedding(torch.tensor(ids)) for ids in TOKENS]).double()
    entry = inputs["projection.weight"]
    assert difference(grams[entry.tensor], (x.T @ x).numpy()) < 1e-5
    assert entry.num_rows == len(x)
    assert "[1, 64, 4], which are not tokens, were left out" in entry.reason


def test_one_text_as_long_as_a_table_of_relative_positions_is_not_taken_for_it():
    model = ARCHITECTURES["DeBERTa-v2"](2)
    table = 2 * model.config.position_buckets
    tokens = [(2, *range(4, table + 2), 3)]
    assert len(tokens[0]) == table
    grams, inputs = accumulate_grams(model, list(make_batches([EncodedText(tokens[0])], [0], 0, 1)), False, Progress())
    name = "deberta.encoder.layer.0.attention.self.query_proj.weight"
    gram, num_rows = oracles.grams_by_loop(model, tokens)[name]
    assert inputs[name].num_rows == num_rows == table
    assert inputs["classifier.weight"].num_rows == 1
    assert difference(grams[inputs[name].tensor], gram) < 1e-5


class OneMap(nn.Module):
    """One linear map behind an embedding, as nn.Linear or as GPT-2's Conv1D, which is the same function."""

    def __init__(self, weight: Tensor, *, is_conv: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 4)
        self.map = Conv1D(6, 4) if is_conv else nn.Linear(4, 6)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.arange(200).reshape(50, 4).sin())
            self.map.weight.copy_(weight if is_conv else weight.T)
            self.map.bias.zero_()
        self.eval().requires_grad_(False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.map(self.embedding(input_ids))


def test_conv1d_has_the_gram_of_the_linear_layer_and_is_marked_as_transposed():
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    (linear, linear_inputs), (conv, conv_inputs) = (measure(OneMap(weight, is_conv=c)) for c in (False, True))
    assert torch.equal(linear["map.weight"], conv["map.weight"])
    assert (linear_inputs["map.weight"].is_transposed, conv_inputs["map.weight"].is_transposed) == (False, True)


def statistic_of(checkpoint: Checkpoint, measured: Measured) -> Statistic:
    return Statistic(StatisticKind.GRAM, checkpoint.fingerprint, "text", StatisticSettings(), len(TOKENS), 1, *measured)


def test_conv1d_weights_are_merged_as_the_transpose_of_linear_ones(tmp_path: Path):
    models = [tiny_gpt2(seed) for seed in (1, 2, 3)]
    coefficients = [0.5, 0.3, 0.2]
    experts = [Checkpoint(f"e{i}", write_model(tmp_path / f"e{i}", m), "test") for i, m in enumerate(models)]
    measured = [measure(model) for model in models]
    statistics = {StatisticKind.GRAM: [statistic_of(e, m) for e, m in zip(experts, measured, strict=True)]}
    source = SlotSource(experts, coefficients, statistics)
    slots = {slot.name: slot for slot in source.slots()}
    assert slots["transformer.h.0.mlp.c_fc.weight"].experts.shape == (3, 64, 16)  # (expert, out, in)
    results = [merge_once(source, RegMean(alpha=0.9)), PreparedMerge(source, RegMean).merge(RegMean(alpha=0.9))]
    for merged in results:
        for name, entry in measured[0][1].items():
            stored = [model.state_dict()[name].double().numpy() for model in models]
            grams = [m[0][entry.tensor].numpy() for m in measured]
            num_rows = [m[1][name].num_rows for m in measured]
            weights = stored if entry.is_transposed else [w.T for w in stored]
            expected = oracles.regmean_by_formula(grams, num_rows, weights, coefficients, 0.9)
            expected = expected if entry.is_transposed else expected.T
            assert merged.tensors[name].shape == expected.shape
            np.testing.assert_allclose(merged.tensors[name].numpy(), expected, atol=2e-4, err_msg=name)
            assert merged.treatments[name].reason == ""
        assert [t.reason for n, t in merged.treatments.items() if "wte" in n] == ["not the weight of a linear layer"]


def test_alpha_1_behind_a_real_layer_norm_stays_near_the_experts(tmp_path: Path):
    # Without a bias LayerNorm's outputs span one direction less than their width; what the float32 Gram holds
    # there is rounding, and dividing by it would send the weight anywhere.
    models = [tiny_bert(seed, hidden_size=32) for seed in (1, 2)]
    for model in models:
        model.bert.encoder.layer[0].attention.output.LayerNorm.bias.zero_()
    texts = [EncodedText(ids) for ids in random_tokens(150, seed=5)]
    batches = list(make_batches(texts, range(len(texts)), 0, 400))
    experts = [Checkpoint(f"e{i}", write_model(tmp_path / f"e{i}", m), "test") for i, m in enumerate(models)]
    measured = [accumulate_grams(model, batches, False, Progress()) for model in models]
    statistics = {StatisticKind.GRAM: [statistic_of(e, m) for e, m in zip(experts, measured, strict=True)]}
    source = SlotSource(experts, [0.5, 0.5], statistics)
    merged, mean = merge_once(source, RegMean(alpha=1.0)), merge_once(source, RegMean(alpha=0.0))
    name = f"{LAYER}.intermediate.dense.weight"
    assert merged.treatments[name].path == "eigen"
    weights = [model.state_dict()[name] for model in models]
    apart = (weights[0] - weights[1]).norm()
    assert (merged.tensors[name] - (weights[0] + weights[1]) / 2).norm() < 3 * apart
    assert (merged.tensors[name] - mean.tensors[name]).norm() > 0.01 * apart
