"""Plain names for parts of a model, found from its parameters' names, whatever the architecture calls them.

Every parameter belongs to at most one of attention, ffn, embeddings, norms and head. Biases and layers cut across.

    attention     projections to query, key and value and back, relative position biases
    ffn           the feed-forward network of each layer
    embeddings    words, positions, token types, and the projection from them to the first layer
    norms         every LayerNorm or RMSNorm, wherever it stands
    head          what follows the last layer: pooler and classifier
    biases        everything called "bias", those of norms included
    layers 0-2    all that stands in these layers, counted from 0; encoder and decoder both, where there are two
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from fusion_ui.merging.layers import layer_of

GROUPS = ("attention", "ffn", "embeddings", "norms", "head", "biases")
_LAYERS = re.compile(r"layers? (\d{1,4})(?:-(\d{1,4}))?")

# Against one dotted part of a name, in lower case.
_NORM = re.compile(r"(.*_)?(layer_?)?norm|ln_.*")
_HEAD = re.compile(r"(pre_)?classifier|score|head|classification_head|pooler")
_EMBEDDING = re.compile(r".*embed.*|wte|wpe|shared")
_ATTENTION = re.compile(r".*(attention|attn).*")
_FFN = re.compile(r"(ffn|fc[12]|mlp|intermediate|output|densereludense|feed_?forward)(_output)?")

_KINDS = {
    "query": re.compile(r"q(uery)?(_proj|_lin)?"),
    "key": re.compile(r"k(ey)?(_proj|_lin)?"),
    "value": re.compile(r"v(alue)?(_proj|_lin)?"),
    "query, key, value": re.compile(r"wqkv|c_attn"),
    "positions": re.compile(r"relative_attention_bias"),
}
_ATTENTION_STEPS = ("query, key, value", "query", "key", "value", "positions", "attention output")
_STEPS = [*_ATTENTION_STEPS, *(f"cross {kind}" for kind in _ATTENTION_STEPS), "ffn gate", "ffn in", "ffn out"]
_FFN_KINDS = {
    "ffn gate": re.compile(r"gate_proj|wi_0"),
    "ffn out": re.compile(r"(.*_)?output|lin2|fc2|wo|(down|c)_proj"),
}


def group_of(name: str) -> str:
    """The one group, other than biases and layers, that a parameter belongs to; empty where its name says nothing."""
    *modules, _ = name.lower().split(".")
    if modules and _NORM.fullmatch(modules[-1]):
        return "norms"
    if _find(_HEAD, modules):
        return "head"
    for group, pattern in (("embeddings", _EMBEDDING), ("attention", _ATTENTION), ("ffn", _FFN)):
        if _find(pattern, modules):
            return group
    return ""


def kind_of(name: str) -> str:
    """What a parameter is for within its layer ("query", "ffn out"), its module in the head, else its group."""
    *modules, _ = name.lower().split(".")
    group = group_of(name)
    if group == "attention":
        kind = next((kind for kind, pattern in _KINDS.items() if _find(pattern, modules)), "attention output")
        return f"cross {kind}" if _find(re.compile(r".*encdec.*|.*cross.*"), modules) else kind
    if group == "ffn":
        return next((kind for kind, pattern in _FFN_KINDS.items() if _find(pattern, modules)), "ffn in")
    if group == "head":
        start = next(i for i, module in enumerate(modules) if _HEAD.fullmatch(module))
        return " ".join(modules[start:])
    return group


def position_of(name: str) -> tuple[int, bool, int, int, str]:
    """Sorts parameters as the model computes: embeddings, layers of an encoder, of a decoder, what follows, head."""
    group, layer, kind = group_of(name), layer_of(name), kind_of(name)
    stage = 0 if "embeddings" in (group, *name.split(".")) else 1 if layer is not None else 3 if group == "head" else 2
    step = _STEPS.index(kind) if kind in _STEPS else len(_STEPS)
    return stage, "decoder" in name.split("."), layer or 0, step, name


def matches(pattern: str, name: str) -> bool:
    """True if a parameter belongs to a group, stands in the layers, or is matched by a glob such as ``*.query.*``."""
    if pattern == "biases":
        return name.rpartition(".")[2] == "bias"
    if pattern in GROUPS:
        return group_of(name) == pattern
    if found := _LAYERS.fullmatch(pattern):
        layer, first = layer_of(name), int(found[1])
        return layer is not None and first <= layer <= int(found[2] or first)
    return fnmatchcase(name, pattern)


def groups_in(names: Iterable[str]) -> list[str]:
    """The groups that a model with these parameters has, the layers last."""
    names = list(names)
    found = [group for group in GROUPS if any(matches(group, name) for name in names)]
    layers = [layer for name in names if (layer := layer_of(name)) is not None]
    return [*found, f"layers 0-{max(layers)}"] if layers else found


def _find(pattern: re.Pattern[str], modules: list[str]) -> bool:
    return any(pattern.fullmatch(module) for module in modules)
