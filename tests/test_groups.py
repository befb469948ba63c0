"""Which parameters of each architecture a plain name means: a table written by hand from the models' own names."""

from __future__ import annotations

import re

import pytest
from architectures import ARCHITECTURES

from fusion_ui.merging.groups import GROUPS, group_of, groups_in, kind_of, matches
from fusion_ui.merging.layers import layer_of

EXCLUSIVE = tuple(group for group in GROUPS if group != "biases")


def bert_like(prefix: str, embeddings: str, head: str, more_norms: str = "", names: str = "query key value") -> dict:
    """Tables of the architectures that took BERT's names; N stands for each layer."""
    layer = f"{prefix}.encoder.layer.N"
    return {
        "embeddings": [f"{prefix}.{name}" for name in embeddings.split()],
        "attention": [f"{layer}.attention.self.{name}" for name in names.split()] + [f"{layer}.attention.output.dense"],
        "ffn": [f"{layer}.intermediate.dense", f"{layer}.output.dense"],
        "norms": [
            f"{prefix}.embeddings.LayerNorm",
            f"{layer}.attention.output.LayerNorm",
            f"{layer}.output.LayerNorm",
            *more_norms.split(),
        ],
        "head": head.split(),
    }


def prefixed(prefix: str, names: str) -> list[str]:
    return [prefix + name for name in names.split()]


WORDS = "embeddings.word_embeddings embeddings.position_embeddings embeddings.token_type_embeddings"
LLAMA = {
    "embeddings": ["model.embed_tokens"],
    "attention": prefixed("model.layers.N.self_attn.", "q_proj k_proj v_proj o_proj"),
    "ffn": prefixed("model.layers.N.mlp.", "gate_proj up_proj down_proj"),
    "norms": ["model.norm", *prefixed("model.layers.N.", "input_layernorm post_attention_layernorm")],
    "head": ["score"],
}
T5_ENCODER, T5_DECODER = "transformer.encoder.block.N.layer.", "transformer.decoder.block.N.layer."
TABLE: dict[str, dict[str, list[str]]] = {
    "BERT": bert_like("bert", WORDS, "bert.pooler.dense classifier"),
    "RoBERTa": bert_like("roberta", WORDS, "classifier.dense classifier.out_proj"),
    "XLM-RoBERTa": bert_like("roberta", WORDS, "classifier.dense classifier.out_proj"),
    "ELECTRA": bert_like("electra", f"{WORDS} embeddings_project", "classifier.dense classifier.out_proj"),
    "DeBERTa-v2": bert_like(
        "deberta",
        "embeddings.word_embeddings encoder.rel_embeddings",
        "pooler.dense classifier",
        more_norms="deberta.encoder.LayerNorm",
        names="query_proj key_proj value_proj",
    ),
    "DistilBERT": {
        "embeddings": prefixed("distilbert.embeddings.", "word_embeddings position_embeddings"),
        "attention": prefixed("distilbert.transformer.layer.N.attention.", "q_lin k_lin v_lin out_lin"),
        "ffn": prefixed("distilbert.transformer.layer.N.ffn.", "lin1 lin2"),
        "norms": [
            "distilbert.embeddings.LayerNorm",
            *prefixed("distilbert.transformer.layer.N.", "sa_layer_norm output_layer_norm"),
        ],
        "head": ["pre_classifier", "classifier"],
    },
    "ALBERT (shared layers)": {
        "embeddings": [*prefixed("albert.", WORDS), "albert.encoder.embedding_hidden_mapping_in"],
        "attention": prefixed(
            "albert.encoder.albert_layer_groups.N.albert_layers.0.attention.", "query key value dense"
        ),
        "ffn": prefixed("albert.encoder.albert_layer_groups.N.albert_layers.0.", "ffn ffn_output"),
        "norms": [
            "albert.embeddings.LayerNorm",
            *prefixed(
                "albert.encoder.albert_layer_groups.N.albert_layers.0.", "attention.LayerNorm full_layer_layer_norm"
            ),
        ],
        "head": ["albert.pooler", "classifier"],
    },
    "MPNet": {
        "embeddings": prefixed("mpnet.embeddings.", "word_embeddings position_embeddings"),
        "attention": [
            *prefixed("mpnet.encoder.layer.N.attention.attn.", "q k v o"),
            "mpnet.encoder.relative_attention_bias",
        ],
        "ffn": prefixed("mpnet.encoder.layer.N.", "intermediate.dense output.dense"),
        "norms": [
            "mpnet.embeddings.LayerNorm",
            *prefixed("mpnet.encoder.layer.N.", "attention.LayerNorm output.LayerNorm"),
        ],
        "head": ["classifier.dense", "classifier.out_proj"],
    },
    "ModernBERT": {
        "embeddings": ["model.embeddings.tok_embeddings"],
        "attention": prefixed("model.layers.N.attn.", "Wqkv Wo"),
        "ffn": prefixed("model.layers.N.mlp.", "Wi Wo"),
        "norms": [
            *("model.embeddings.norm", "model.final_norm", "head.norm"),
            *prefixed("model.layers.N.", "attn_norm mlp_norm"),
        ],
        "head": ["head.dense", "classifier"],
    },
    "GPT-2 (Conv1D)": {
        "embeddings": ["transformer.wte", "transformer.wpe"],
        "attention": prefixed("transformer.h.N.attn.", "c_attn c_proj"),
        "ffn": prefixed("transformer.h.N.mlp.", "c_fc c_proj"),
        "norms": ["transformer.ln_f", *prefixed("transformer.h.N.", "ln_1 ln_2")],
        "head": ["score"],
    },
    "OPT": {
        "embeddings": prefixed("model.decoder.", "embed_tokens embed_positions"),
        "attention": prefixed("model.decoder.layers.N.self_attn.", "q_proj k_proj v_proj out_proj"),
        "ffn": prefixed("model.decoder.layers.N.", "fc1 fc2"),
        "norms": [
            "model.decoder.final_layer_norm",
            *prefixed("model.decoder.layers.N.", "self_attn_layer_norm final_layer_norm"),
        ],
        "head": ["score"],
    },
    "Llama": LLAMA,
    "Qwen2": LLAMA,
    "T5": {
        "embeddings": prefixed("transformer.", "shared encoder.embed_tokens decoder.embed_tokens"),
        "attention": [
            *prefixed(f"{T5_ENCODER}0.SelfAttention.", "q k v o relative_attention_bias"),
            *prefixed(f"{T5_DECODER}0.SelfAttention.", "q k v o relative_attention_bias"),
            *prefixed(f"{T5_DECODER}1.EncDecAttention.", "q k v o"),
        ],
        "ffn": [
            *prefixed(f"{T5_ENCODER}1.DenseReluDense.", "wi wo"),
            *prefixed(f"{T5_DECODER}2.DenseReluDense.", "wi wo"),
        ],
        "norms": [
            *prefixed(T5_ENCODER, "0.layer_norm 1.layer_norm"),
            *prefixed(T5_DECODER, "0.layer_norm 1.layer_norm 2.layer_norm"),
            *prefixed("transformer.", "encoder.final_layer_norm decoder.final_layer_norm"),
        ],
        "head": prefixed("classification_head.", "dense out_proj"),
    },
}


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def names(architecture: str) -> list[str]:
    return list(ARCHITECTURES[architecture](0).state_dict())


def module_of(name: str) -> str:
    """The parameter's module, with N for the number of its layer: the first number, which T5's sub-layers follow."""
    return re.sub(r"\.\d+\.", ".N.", name.rpartition(".")[0], count=1)


def test_each_group_is_what_the_table_says_and_nothing_is_left_over(architecture: str, names: list[str]):
    found = {group: {module_of(name) for name in names if matches(group, name)} for group in EXCLUSIVE}
    assert found == {group: set(TABLE[architecture][group]) for group in EXCLUSIVE}
    assert all(group_of(name) in EXCLUSIVE for name in names)


def test_biases_and_layers_cut_across(architecture: str, names: list[str]):
    assert [name for name in names if matches("biases", name)] == [name for name in names if name.endswith(".bias")]
    num_layers = 1 if "ALBERT" in architecture else 2
    for number in range(num_layers):
        inside = {name for name in names if matches(f"layer {number}", name)}
        assert inside == {name for name in names if re.match(rf"[a-z_.]+\.{number}\.", name)}
        assert len(inside) >= 5 and all(layer_of(name) == number for name in inside)
        assert inside == {name for name in names if matches(f"layers {number}-{number}", name)}
    within = {name for name in names if matches("layers 0-9", name)}
    assert within == {name for name in names if layer_of(name) is not None}
    assert not any(matches("embeddings", name) or matches("head", name) for name in within)
    assert not any(matches("layers 1-0", name) for name in names)
    present = groups_in(names)
    assert present[-1] == f"layers 0-{num_layers - 1}" and set(EXCLUSIVE) <= set(present)
    assert ("biases" in present) == any(name.endswith(".bias") for name in names)


def test_kinds_tell_the_matrices_of_a_layer_apart(architecture: str, names: list[str]):
    for number in range(2):
        inside = [n for n in names if layer_of(n) == number and n.endswith("weight") and group_of(n) != "norms"]
        kinds = [("decoder." in name, kind_of(name)) for name in inside]
        assert len(set(kinds)) == len(kinds), "two matrices of one layer would share a place"
    assert not {kind_of(name) for name in names} & {""}


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("*.query.weight", ["h.0.attention.query.weight"]),
        ("h.0.attention.query.*", ["h.0.attention.query.weight", "h.0.attention.query.bias"]),
        ("*.[qk]*.bias", ["h.0.attention.query.bias"]),
        ("Attention", []),  # groups are lower case; as a glob it matches nothing
        ("layers 0", ["h.0.attention.query.weight", "h.0.attention.query.bias"]),
        ("layers x", []),
        ("*", ["h.0.attention.query.weight", "h.0.attention.query.bias", "classifier.0.weight", "scalar"]),
    ],
)
def test_anything_else_is_a_glob(pattern: str, matched: list[str]):
    names = ["h.0.attention.query.weight", "h.0.attention.query.bias", "classifier.0.weight", "scalar"]
    assert [name for name in names if matches(pattern, name)] == matched


def test_a_name_that_says_nothing_belongs_nowhere():
    assert (group_of("w"), layer_of("w"), kind_of("w")) == ("", None, "")
    assert (
        group_of("model.layers.3.mixer.in_proj.weight") == "" and layer_of("model.layers.3.mixer.in_proj.weight") == 3
    )
    assert layer_of("classifier.0.weight") is None  # a head of several steps has no layers
