"""What a parameter's name tells: whether it is a linear weight, which way round it is stored, how deep it lies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from architectures import ARCHITECTURES
from tiny_models import tiny_gpt2, write_model
from torch import nn

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.layouts import is_linear_weight, is_stored_transposed
from fusion_ui.merging.layers import count_layers, depth_of, layer_of
from fusion_ui.merging.merge import merge_once
from fusion_ui.merging.slots import SlotSource
from fusion_ui.methods.data_free_regmean import DataFreeRegMean
from fusion_ui.statistics.gram import linear_modules

every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


@every_architecture
def test_names_tell_of_every_architecture_what_its_modules_are(architecture: str):
    model = ARCHITECTURES[architecture](0)
    modules, config = linear_modules(model), model.config.to_dict()
    for name, parameter in model.named_parameters():
        assert is_linear_weight(name, parameter.shape) == (name in modules), name
        if name in modules:
            assert is_stored_transposed(name, config) == modules[name][1], name


@pytest.mark.parametrize(
    ("name", "shape", "is_linear"),
    [
        ("bert.pooler.dense.weight", (4, 4), True),
        ("bert.pooler.dense.bias", (4,), False),
        ("electra.embeddings_project.weight", (8, 4), True),
        ("gpt_neox.embed_in.weight", (9, 4), False),
        ("xlm.embeddings.weight", (9, 4), False),
        ("transformer.layer.0.rel_attn.r_w_bias", (2, 4), False),
        ("conv.weight", (4, 4, 3), False),
        ("weight", (4, 4), True),
        ("extra", (4, 4), False),
    ],
)
def test_single_names(name: str, shape: tuple[int, ...], is_linear: bool):
    assert is_linear_weight(name, shape) == is_linear


def test_the_same_module_name_is_no_conv1d_in_another_model():
    name = "transformer.h.0.mlp.c_proj.weight"
    assert is_stored_transposed(name, {"model_type": "gpt2"})
    assert not is_stored_transposed(name, {"model_type": "gpt_neo"})
    assert not is_stored_transposed("score.weight", {"model_type": "gpt2"})


def test_a_method_without_statistics_sees_conv1d_weights_as_out_by_in(tmp_path: Path):
    models = [tiny_gpt2(seed) for seed in (1, 2, 3)]
    found = [Checkpoint(f"m{i}", write_model(tmp_path / f"m{i}", m), "test") for i, m in enumerate(models)]
    name = "transformer.h.0.mlp.c_fc.weight"
    source = SlotSource(found[:2], [0.5, 0.5], {}, found[2])
    slots = {slot.name: slot for slot in source.slots()}
    assert slots[name].experts.shape == (2, 64, 16) and slots[name].base.shape == (64, 16) and slots[name].is_linear
    assert not slots["transformer.wte.weight"].is_linear
    # The merge is that of the transposed weights, transposed, and takes its inputs for inputs.
    merged = merge_once(source, DataFreeRegMean(alpha=0)).tensors[name].double()
    stored = [model.state_dict()[name].double() for model in models]
    shares = [((w - stored[2]) ** 2).sum(1) / ((w - stored[2]) ** 2).sum() for w in stored[:2]]
    expected = sum(s[:, None] * w for s, w in zip(shares, stored[:2], strict=True)) / sum(shares)[:, None]
    torch.testing.assert_close(merged, expected, rtol=1e-5, atol=1e-5)


@every_architecture
def test_every_architectures_layers_are_counted_and_everything_has_a_depth(architecture: str):
    model: nn.Module = ARCHITECTURES[architecture](0)
    names = [name for name, _ in model.named_parameters()]
    num_layers = count_layers(names)
    assert num_layers == (1 if "ALBERT" in architecture else 2)
    first, last = model.get_input_embeddings().weight, list(model.parameters())[-1]
    by_identity = {id(parameter): name for name, parameter in model.named_parameters()}
    assert depth_of(by_identity[id(first)], num_layers) == 0
    assert depth_of(by_identity[id(last)], num_layers) == 1
    for name in names:
        layer = layer_of(name)
        assert layer is None or depth_of(name, num_layers) == (layer if num_layers > 1 else 1)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("bert.encoder.layer.3.attention.self.query.weight", 3),
        ("distilbert.transformer.layer.11.ffn.lin1.bias", 11),
        ("model.layers.7.mlp.up_proj.weight", 7),
        ("layers.7.mlp.up_proj.weight", 7),
        ("transformer.h.10.ln_1.weight", 10),
        ("transformer.encoder.block.5.layer.1.DenseReluDense.wi.weight", 5),
        ("albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight", 0),
        ("albert.encoder.albert_layer_groups.2.albert_layers.0.ffn.weight", 2),
        ("bert.embeddings.LayerNorm.weight", None),
        ("classifier.weight", None),
        ("bert.encoder.player.3.weight", None),
        ("layer.weight", None),
    ],
)
def test_a_layers_number_stands_in_the_name(name: str, layer: int | None):
    assert layer_of(name) == layer


def test_depth_grows_evenly_from_embeddings_to_head():
    depths = {
        "bert.embeddings.LayerNorm.weight": 0,
        "transformer.wpe.weight": 0,
        "model.decoder.project_in.weight": 0,
        "encoder.relative_attention_bias.weight": 0,
        "bert.encoder.layer.0.output.dense.weight": 0,
        "bert.encoder.layer.1.output.dense.weight": 0.25,
        "bert.encoder.layer.4.output.dense.weight": 1,
        "transformer.ln_f.weight": 1,
        "bert.pooler.dense.weight": 1,
        "classifier.bias": 1,
    }
    assert {name: depth_of(name, 5) for name in depths} == depths
    assert depth_of("encoder.layer.0.dense.weight", 1) == 1
    assert count_layers(["classifier.weight", "transformer.attentions.0.q_lin.weight"]) == 0
