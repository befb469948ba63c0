"""What a statistics file tells about the text behind it, and how its owner can tell less.

A Gram matrix is not anonymous. With fewer rows than features its range is exactly the span of the layer's inputs, and
a Gram of one row gives that row up to its sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.errors import StatisticError
from fusion_ui.statistics.bundle import gram_side
from fusion_ui.statistics.statistic import LinearInput, Statistic, StatisticKind, StatisticSettings


def check_belongs(expert: Checkpoint, statistic: Statistic, kind: StatisticKind = StatisticKind.GRAM) -> None:
    """Raise `StatisticError` unless a statistic is of that kind and was measured on that model."""
    if statistic.kind is not kind:
        raise StatisticError(f"The statistics of {expert.name} hold {statistic.kind}, but the method needs {kind}.")
    if statistic.checkpoint != expert.fingerprint:
        raise StatisticError(
            f"The statistics given for {expert.name} were measured on another model "
            f"(fingerprint {statistic.checkpoint[:8]}, this model has {expert.fingerprint[:8]}). "
            "Measure them again on this model with `fusion-ui stats`."
        )
    for name, entry in statistic.inputs.items() if kind is StatisticKind.GRAM else ():
        if not entry.tensor:
            continue
        shape = expert.tensors.shape(name) if name in expert.tensors.names else ()
        width = shape[0 if entry.is_transposed else 1] if len(shape) == 2 else 0
        if (side := _num_features(statistic, entry.tensor)) != width:
            raise StatisticError(
                f"The statistics given for {expert.name} hold a {side} x {side} matrix for {name}, which has {width} "
                "inputs. The file is damaged: measure it again with `fusion-ui stats`."
            )
    for name, counts in statistic.token_counts.items():
        num_rows = expert.tensors.shape(name)[0] if name in expert.tensors.names else 0
        if counts.shape != (num_rows,) or not (counts.isfinite() & (counts >= 0)).all() or not counts.any():
            raise StatisticError(
                f"The statistics given for {expert.name} hold no proper token counts for {name}, which has {num_rows} "
                "rows. The file is damaged: measure it again with `fusion-ui stats`."
            )


def check_holds(expert: Checkpoint, statistic: Statistic, how: StatisticSettings) -> None:
    """Raise `StatisticError` if a statistics file lacks something beyond Grams that `how` asks for."""
    if how.token_counts and not statistic.token_counts:
        raise StatisticError(
            f"The statistics file of {expert.name} holds no token counts, which weighting embeddings needs. Switch "
            "that off, or ask the data's owner for a file made with `fusion-ui stats --token-counts`."
        )
    if how.input_sums and not statistic.settings.input_sums:
        raise StatisticError(
            f"The statistics file of {expert.name} holds no input sums, which merging biases with their weights needs. "
            "Switch that off, or ask the data's owner for a file made with `fusion-ui stats --input-sums`."
        )


def find_revealing(statistic: Statistic, rows_per_feature: float = 1.0) -> list[str]:
    """Linear weights whose Gram was summed over fewer rows than `rows_per_feature` times its features."""
    if statistic.is_diagonal:
        return []
    sizes = {key: _num_features(statistic, key) for key in statistic.tensors}
    return [
        name
        for name, entry in statistic.inputs.items()
        if entry.tensor and entry.num_rows < rows_per_feature * sizes[entry.tensor]
    ]


def _num_features(statistic: Statistic, key: str) -> int:
    return gram_side(statistic, key) - statistic.settings.input_sums


def leave_out(statistic: Statistic, names: list[str]) -> Statistic:
    """The statistic without the Grams of some linear weights, which a merge then averages and reports."""
    inputs: dict[str, LinearInput] = {}
    for name, entry in statistic.inputs.items():
        reason = f"its owner left the Gram out: {entry.num_rows} rows were too few to share"
        inputs[name] = replace(entry, tensor="", num_rows=0, reason=reason) if name in names else entry
    kept = {entry.tensor for entry in inputs.values() if entry.tensor}
    tensors: Mapping[str, Tensor] = {key: statistic.tensors[key] for key in kept}
    return replace(statistic, tensors=tensors, inputs=inputs)


def keep_diagonals(statistic: Statistic) -> Statistic:
    """The statistic with the diagonals of its Grams alone, enough for alpha = 0."""
    tensors = {key: tensor.diagonal().diag() for key, tensor in statistic.tensors.items()}
    return replace(statistic, tensors=tensors, is_diagonal=True)


def explain_revealing(statistic: Statistic) -> str:
    """What somebody with this file and the model learns about the text, in a sentence or two."""
    explained = _explain_grams(statistic)
    if statistic.settings.input_sums and not statistic.is_diagonal:
        explained += " It also tells the features' averages."
    if statistic.token_counts:
        explained += " It also tells which tokens occur in the text, and how often."
    return explained


def _explain_grams(statistic: Statistic) -> str:
    if statistic.is_diagonal:
        return "It tells how strongly each feature was active on the text on average, and nothing of single sentences."
    revealing = find_revealing(statistic)
    if revealing:
        return (
            f"{len(revealing)} of {len(statistic.inputs)} layers saw fewer rows than they have features "
            f"({', '.join(revealing[:3])}), so their Gram matrices span exactly what single sentences looked like "
            "there. Use more examples, --min-rows-per-feature 1 to leave these layers out, or --diagonal."
        )
    return (
        "It tells the average products of features over all tokens. That is no single sentence, but it is not "
        "anonymous: it can be tested whether a known text was likely among them."
    )
