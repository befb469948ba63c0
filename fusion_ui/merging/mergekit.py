"""A recipe as mergekit 0.1.5 writes it, where mergekit knows the method; agreement was measured on random tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fusion_ui.errors import RecipeError
from fusion_ui.merging.recipe import MergeRecipe
from fusion_ui.methods import find_method

VERSION = "0.1.5"
RANDOM = "Its random entries are others than Fusion UI's, which draws the same ones for the same recipe."


@dataclass(frozen=True)
class PeerMethod:
    """What one of our methods is called in mergekit, and its parameters there.

    Attributes:
        translate: from our parameters to mergekit's.
        takes_weights: every expert has a weight of its own; else all count the same.
        remark: where the two are known to differ.
    """

    name: str
    translate: Callable[[Mapping[str, float]], dict[str, float | bool]] = lambda ours: {}
    takes_weights: bool = True
    remark: str = ""


PEERS: Mapping[str, PeerMethod] = {
    "simple_mean": PeerMethod("linear"),
    "task_arithmetic": PeerMethod("task_arithmetic", lambda ours: {"lambda": ours["scaling_coefficient"]}),
    "ties": PeerMethod(
        "ties",
        lambda ours: {"density": ours["density"], "lambda": ours["scaling_coefficient"]},
        remark="Of entries of the same size at the edge of the density, mergekit keeps some and Fusion UI all.",
    ),
    "dare": PeerMethod(
        "dare_linear",
        lambda ours: {"density": ours["density"], "lambda": ours["scaling_coefficient"]},
        remark=f"{RANDOM} mergekit restores the sum of magnitudes where Fusion UI divides by the density.",
    ),
    "dare_ties": PeerMethod(
        "dare_ties",
        lambda ours: {"density": ours["density"], "lambda": ours["scaling_coefficient"], "normalize": True},
        remark=f"{RANDOM} mergekit restores the sum of magnitudes where Fusion UI divides by the density.",
    ),
    "breadcrumbs": PeerMethod(
        "breadcrumbs",
        lambda ours: {
            "density": round(max(0.0, 1 - ours["drop_smallest"] - ours["drop_largest"]), 12),
            "gamma": ours["drop_largest"],
            "lambda": ours["scaling_coefficient"],
        },
        remark="Where a tensor is so small that the shares are no whole numbers of entries, mergekit rounds otherwise.",
    ),
    "della": PeerMethod(
        "della",
        lambda ours: {
            "density": ours["density"],
            # It takes half the window, and refuses one that reaches chances of 0 or 1.
            "epsilon": min(ours["window"] / 2, (1 - 1e-6) * min(ours["density"], 1 - ours["density"])),
            "lambda": ours["scaling_coefficient"],
        },
        remark=f"{RANDOM} mergekit restores the sum of magnitudes where Fusion UI divides by each entry's chance.",
    ),
    "model_stock": PeerMethod(
        "model_stock",
        takes_weights=False,
        remark="Where task vectors point away from each other, Fusion UI keeps the base and mergekit goes beyond it.",
    ),
    "slerp": PeerMethod(
        "slerp",
        remark="mergekit leaves lengths to the arc, and goes straight where directions are nearly the same.",
    ),
    "karcher": PeerMethod("karcher", takes_weights=False, remark="mergekit ends its search at a step of 1e-5."),
}
"""Our method -> mergekit's."""


def mergekit_config(recipe: MergeRecipe) -> dict[str, Any]:
    """The recipe as a mergekit configuration.

    Raises:
        RecipeError: mergekit has no such method, or cannot do what the recipe asks besides.
    """
    method, peer = find_method(recipe.method), PEERS.get(recipe.method)
    if peer is None:
        known = ", ".join(find_method(name).title for name in PEERS)
        raise RecipeError(f"mergekit {VERSION} does not have {method.title}. Of the methods here it has: {known}.")
    _check_plain(recipe, peer)
    models = [_reference(entry.model, entry.revision) for entry in recipe.experts]
    count, parameters = len(models), peer.translate(asdict(recipe.make_method()))
    if recipe.method == "slerp":
        # From the first to the second: mergekit calls the first its base.
        entries: list[dict[str, Any]] = [{"model": model} for model in models]
        related = {"base_model": models[0], "parameters": {"t": recipe.weights[1]}}
    else:
        # For mergekit experts of equal standing have the weight 1 each, here their coefficients sum to 1.
        weights = [{"parameters": {"weight": count * w}} if peer.takes_weights else {} for w in recipe.weights]
        entries = [{"model": model} | weight for model, weight in zip(models, weights, strict=True)]
        related = {"base_model": _reference(str(recipe.base), None)} if method.needs_base else {}
        related |= {"parameters": parameters} if parameters else {}
    return {"merge_method": peer.name, "models": entries, **related, "dtype": "float32"}


def mergekit_yaml(recipe: MergeRecipe) -> str:
    """The configuration as a file for ``mergekit-yaml``, with remarks on where the two differ.

    Raises:
        RecipeError: as `mergekit_config`.
    """
    import yaml

    config = yaml.safe_dump(mergekit_config(recipe), sort_keys=False, allow_unicode=True)
    remarks = [f"For mergekit {VERSION}: mergekit-yaml FILE DIR"]
    remarks += [
        "mergekit matches the labels of the heads by position, Fusion UI by name: they must stand in one order."
    ]
    remarks += filter(None, [PEERS[recipe.method].remark])
    return "".join(f"# {remark}\n" for remark in remarks) + config


def _check_plain(recipe: MergeRecipe, peer: PeerMethod) -> None:
    """Raise `RecipeError` where the recipe asks for what a mergekit configuration cannot say."""
    obstacle = find_method(recipe.method).find_obstacle(len(recipe.experts), recipe.base is not None)
    reasons = {
        "rules for single parameters": bool(recipe.rules),
        "scaling by layer": recipe.layer_scaling is not None,
        "heads of different labels": recipe.heads is not None,
        f"weights for the experts of its {peer.name}": not peer.takes_weights and len(set(recipe.weights)) > 1,
    }
    if obstacle:
        raise RecipeError(obstacle)
    if found := [reason for reason, is_asked in reasons.items() if is_asked]:
        raise RecipeError(f"This recipe cannot be written for mergekit {VERSION}: it has no {' and no '.join(found)}.")


def _reference(model: str, revision: str | None) -> str:
    return f"{model}@{revision}" if revision else model
