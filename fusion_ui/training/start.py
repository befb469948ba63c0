"""The model that training starts from: a base, under a head for the labels at hand."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.heads import output_parameters
from fusion_ui.checkpoints.loading import load_pretrained
from fusion_ui.errors import CheckpointError
from fusion_ui.tasks.task import Task
from fusion_ui.tasks.tokenizer import first_line


def load_start(base: Checkpoint, task: Task, label_names: Collection[str], head_seed: int | None) -> Any:
    """The base as a model of transformers with one output for each label, its word embeddings kept as they are. A model
    that writes text has no labels, and its output layer, where that is the table of embeddings, is kept with them.

    What the base lacks, such as the head of a language model, is drawn by the seed; the same seed gives the same head.

    Raises:
        CheckpointError: the base cannot be loaded for this task.
    """
    labels = list(label_names)
    options: dict[str, Any] = {}
    if labels:
        options = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
        options |= {"num_labels": len(labels), "problem_type": task.problem_type}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(head_seed or 0)
        try:
            model = load_pretrained(base.directory, task.auto_class, ignore_mismatched_sizes=True, **options)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise CheckpointError(f"Training cannot start from {base.name}: {first_line(error)}") from None
    if head_seed is not None:
        _draw_head(model, head_seed)
    model.get_input_embeddings().requires_grad_(False)
    return model


def _draw_head(model: nn.Module, seed: int) -> None:
    """A classifier's last layer as transformers draws it: weights normal, biases zero."""
    generator, parameters = torch.Generator().manual_seed(seed), dict(model.named_parameters())
    deviation = float(getattr(model.config, "initializer_range", 0.02))
    with torch.no_grad():
        for name in sorted(output_parameters(parameters)):
            tensor = parameters[name]
            if tensor.ndim > 1:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * deviation)
            else:
                tensor.zero_()
