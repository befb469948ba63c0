"""Kinds of models: one file each, and the one explicit list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains import labels
from fusion_ui.tasks.causal_language_model import CausalLanguageModel
from fusion_ui.tasks.metrics import Metric
from fusion_ui.tasks.multi_label import MultiLabelClassification
from fusion_ui.tasks.regression import Regression
from fusion_ui.tasks.scales import PERCENT, SEVERAL, Scale
from fusion_ui.tasks.sequence_classification import SequenceClassification
from fusion_ui.tasks.sequence_to_sequence import SequenceToSequence
from fusion_ui.tasks.task import Task
from fusion_ui.tasks.token_classification import TokenClassification

TASKS: tuple[Task, ...] = (
    TokenClassification(),
    SequenceToSequence(),
    CausalLanguageModel(),
    Regression(),
    MultiLabelClassification(),
    SequenceClassification(),
)
"""In the order in which they are asked whether they serve a model."""


METRICS: dict[str, Metric] = {metric.name: metric for task in TASKS for metric in task.metrics}
"""Name -> a metric of any task."""


def metric_title(name: str) -> str:
    """How people call a metric."""
    return METRICS[name].title if name in METRICS else name


def shared_metric(names: Iterable[str]) -> str:
    """The metric of a mean over scores of these metrics: theirs, or any that is written as all of them, or none."""
    found = sorted(set(names))
    return found[0] if found and metric_scale(*found) != SEVERAL else ""


def metric_scale(*names: str) -> Scale:
    """How values of some metrics are written together; "" is no metric of its own.

    What is not known, such as the ratio of two scores, is a share.
    """
    scales = {SEVERAL if not name else METRICS[name].scale if name in METRICS else PERCENT for name in names}
    return SEVERAL if len(scales) > 1 else scales.pop() if scales else PERCENT


def find_task(config: Mapping[str, Any]) -> Task:
    """The task of the model with this config.json."""
    return next(task for task in TASKS if task.serves(config))


def unite_labels(tasks: Sequence[Task], experts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """What experts, given the task and the labels of each, answer among together."""
    each = list(zip(tasks, experts, strict=True))
    kinds = dict.fromkeys(tasks)
    return labels.unite_labels([task.unite_labels([names for own, names in each if own is task]) for task in kinds])


def load_model(checkpoint: Checkpoint) -> nn.Module:
    """The checkpoint as a module of its task in eval mode, float32, with its weights.

    Raises:
        CheckpointError: transformers cannot load it, or it was not trained for its task.
    """
    return find_task(checkpoint.config).load_model(checkpoint)
