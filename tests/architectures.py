"""Tiny, randomly initialised classifiers of every architecture that people bring, with a tokenizer for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiny_models import LABELS, VOCABULARY, _make
from torch import nn

SIZES = {"vocab_size": len(VOCABULARY), "id2label": dict(enumerate(LABELS))}
SIZES["label2id"] = {label: i for i, label in enumerate(LABELS)}
TOKENS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
ENCODER: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
DECODER = ENCODER | {"num_key_value_heads": 1}


def classifier(name: str, **config: Any) -> Callable[[int], nn.Module]:
    """Seed -> a randomly initialised model of an architecture."""

    def make(seed: int) -> nn.Module:
        import transformers

        kind = getattr(transformers, f"{name}ForSequenceClassification")
        return _make(kind, kind.config_class(**SIZES | TOKENS | config), seed)

    return make


ARCHITECTURES: dict[str, Callable[[int], nn.Module]] = {
    "BERT": classifier("Bert", **ENCODER),
    "RoBERTa": classifier("Roberta", **ENCODER),
    "DistilBERT": classifier("DistilBert", dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=40),
    "DeBERTa-v2": classifier(
        "DebertaV2",
        **ENCODER,
        relative_attention=True,
        position_buckets=4,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        pooler_hidden_size=16,
    ),
    "ELECTRA": classifier("Electra", **ENCODER, embedding_size=8),
    "ALBERT (shared layers)": classifier("Albert", **ENCODER, embedding_size=8),
    "MPNet": classifier("MPNet", **ENCODER),
    "XLM-RoBERTa": classifier("XLMRoberta", **ENCODER),
    "ModernBERT": classifier(
        "ModernBert", **ENCODER, global_attn_every_n_layers=2, local_attention=8, cls_token_id=2, sep_token_id=3
    ),
    "GPT-2 (Conv1D)": classifier("GPT2", n_embd=16, n_layer=2, n_head=2, n_positions=40),
    "OPT": classifier(
        "OPT",
        hidden_size=16,
        word_embed_proj_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=32,
        max_position_embeddings=40,
    ),
    "Llama": classifier("Llama", **DECODER),
    "Qwen2": classifier("Qwen2", **DECODER),
    "T5": classifier(
        "T5", d_model=16, d_kv=8, d_ff=32, num_layers=2, num_decoder_layers=2, num_heads=2, decoder_start_token_id=0
    ),
}
