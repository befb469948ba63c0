"""Do models come from the same pre-training? Measured on their weights, since configs cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from fusion_ui.checkpoints.checkpoint import Checkpoint

NUM_TENSORS = 6
"""Matrices that are compared, spread over the depth of the model."""
SAME_ORIGIN = 0.5
"""Cosine above which weights share their origin. Fine-tuning keeps it above 0.95 (the demo's experts: 0.99 and more);
two pre-trainings, even of the same recipe, give about 0."""


def weight_cosine(a: Checkpoint, b: Checkpoint) -> float | None:
    """Median cosine between the same weight matrices of two models, embeddings and heads left out.

    Returns:
        None if the two share no matrix of the same shape.
    """
    import torch

    names = [name for name in a.tensors.names if _is_inner_matrix(a, name) and _has(b, name, a.tensors.shape(name))]
    step = max(1, len(names) // NUM_TENSORS)
    cosines = []
    for name in names[::step][:NUM_TENSORS]:
        x, y = (model.tensors.read(name).float().flatten() for model in (a, b))
        cosines.append(torch.nn.functional.cosine_similarity(x, y, dim=0))
    return torch.stack(cosines).median().item() if cosines else None


def find_strangers(models: Sequence[Checkpoint]) -> list[str]:
    """A warning for every model whose weights look as if they came from another pre-training than the first's."""
    first, *others = models
    warnings = []
    for other in others:
        cosine = weight_cosine(first, other)
        if cosine is not None and cosine < SAME_ORIGIN:
            warnings.append(
                f"{first.name} and {other.name} seem to come from different pre-trained models: the cosine between "
                f"their weights is {cosine:.2f}, where fine-tuning one base leaves it above 0.9. Their merge will be "
                "poor whatever the method."
            )
    return warnings


def _is_inner_matrix(model: Checkpoint, name: str) -> bool:
    shape = model.tensors.shape(name)
    is_outer = any(part in name for part in ("embed", "wte", "wpe", "shared", "classifier", "score"))
    return len(shape) == 2 and min(shape) > 1 and not is_outer


def _has(model: Checkpoint, name: str, shape: tuple[int, ...]) -> bool:
    return name in model.tensors.names and model.tensors.shape(name) == shape
