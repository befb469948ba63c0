"""Labels of several experts become one label space, by name and never by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.compatibility import ModelHeader
from fusion_ui.errors import IncompatibleError
from fusion_ui.tasks import find_task


class Heads(StrEnum):
    """What becomes of the experts' classification heads."""

    SHARED = "shared"
    UNION = "union"
    OWN = "own"


@dataclass(frozen=True)
class LabelSpace:
    """The labels of a merge and where each expert's head has them.

    Attributes:
        heads: "shared": one head, merged like any other layer. "union": one head with a row for every label that
            any expert knows, each row averaged over the experts that know it. "own": no merged head.
        names: labels of the merged head in order; empty for "own".
        positions: for each expert the row of every name in its own head; None where it does not know the label.
        parameters: names of the tensors that have one row a label.
    """

    heads: Heads
    names: tuple[str, ...]
    positions: tuple[tuple[int | None, ...], ...]
    parameters: frozenset[str]

    @property
    def is_in_order(self) -> bool:
        """True if every expert's head is the merged one's in order, so that nothing has to be moved."""
        return self.heads is Heads.SHARED and all(p == tuple(range(len(self.names))) for p in self.positions)

    def reorder(self, name: str, expert: int, tensor: Tensor) -> Tensor:
        """The tensor `name` of an expert with its rows in the merged order; other tensors as they are."""
        if self.heads is not Heads.SHARED or name not in self.parameters:
            return tensor
        rows = [row for row in self.positions[expert] if row is not None]
        return tensor if rows == list(range(len(rows))) else tensor[rows]

    def average_rows(
        self, tensors: Sequence[Float[Tensor, "_ ..."]], weights: Sequence[float]
    ) -> Float[Tensor, "_ ..."]:
        """The union head: each label's row is the weighted mean over the experts that know the label."""
        merged = []
        for label in range(len(self.names)):
            known = [
                (t[p[label]], w)
                for t, p, w in zip(tensors, self.positions, weights, strict=True)
                if p[label] is not None
            ]
            total = sum(weight for _, weight in known)
            # A label that only experts of weight 0 know still needs a row that can answer it.
            shares = [weight / total if total else 1 / len(known) for _, weight in known]
            merged.append(sum(share * row.float() for share, (row, _) in zip(shares, known, strict=True)))
        return torch.stack(merged)


def check_tasks(experts: Sequence[Checkpoint | ModelHeader], heads: Heads | None) -> None:
    """Raise `IncompatibleError` where experts of different tasks would share a head, which could serve one alone."""
    first, task = experts[0], find_task(experts[0].config)
    for other in experts[1:]:
        if (its := find_task(other.config)) is not task and heads is not Heads.OWN:
            raise IncompatibleError(
                f"{first.name} and {other.name} cannot share one head: the one is for {task.title}, the other for "
                f"{its.title}. Set 'heads' to 'own': each expert keeps its head over the merged encoder."
            )


def name_outputs(
    models: Sequence[Checkpoint | ModelHeader], experts: Sequence[tuple[str, Sequence[str]]]
) -> list[tuple[str, Sequence[str]]]:
    """Name and labels of each expert, as `align_labels` compares them: the only output of a regressor is the same
    quantity whatever each expert calls it, so all of them get one name for it.
    """
    tasks = [find_task(model.config) for model in models]
    if len(set(tasks)) > 1:
        return [*experts]
    together = tasks[0].unite_labels([labels for _, labels in experts])
    is_one = len(together) == 1 and all(len(labels) == 1 for _, labels in experts)
    return [(name, together if is_one else labels) for name, labels in experts]


def align_labels(
    experts: Sequence[tuple[str, Sequence[str]]], heads: Heads | None, parameters: frozenset[str]
) -> LabelSpace:
    """Find where each expert's head has every label.

    Args:
        experts: name and label names of each expert.
        heads: what the recipe asks for; None shares one head where all experts know the same labels.
        parameters: tensors with one row a label.

    Raises:
        IncompatibleError: a label occurs twice, or the label sets differ and the recipe does not say what to do.
    """
    spaces = [_fold(name, labels) for name, labels in experts]
    if heads is Heads.OWN and any(
        labels for _, labels in experts
    ):  # models that write text have no labels, and share all
        return LabelSpace(heads, (), tuple(() for _ in experts), parameters)
    known: dict[str, str] = {}
    for _, labels in experts:
        for label in labels:
            known.setdefault(label.casefold(), label)
    differing = next((i for i, space in enumerate(spaces) if space.keys() != spaces[0].keys()), None)
    if heads is not Heads.UNION and differing is not None:
        raise IncompatibleError(_explain(experts[0], experts[differing]))
    in_order = all([*space] == [*spaces[0]] for space in spaces)
    if not parameters and not (in_order and differing is None):
        raise IncompatibleError(
            f"{experts[0][0]} and another expert have their labels in another order, and the output layer of this "
            "architecture is not known, so its rows cannot be put in order. Save the models with the same label order."
        )
    positions = tuple(tuple(space.get(folded) for folded in known) for space in spaces)
    chosen = Heads.UNION if heads is Heads.UNION and differing is not None else Heads.SHARED
    return LabelSpace(chosen, tuple(known.values()), positions, parameters)


def _fold(expert: str, labels: Sequence[str]) -> dict[str, int]:
    """Label without case -> row."""
    space = {label.casefold(): row for row, label in enumerate(labels)}
    if len(space) < len(labels):
        raise IncompatibleError(
            f"The model {expert} has a label twice ({', '.join(labels[:10])}). Rename one under 'labels' of the expert."
        )
    return space


def _explain(first: tuple[str, Sequence[str]], other: tuple[str, Sequence[str]]) -> str:
    def list_labels(labels: Sequence[str]) -> str:
        return ", ".join(labels[:10]) + (f" and {len(labels) - 10} more" if len(labels) > 10 else "")

    return (
        f"{first[0]} and {other[0]} cannot share one head: their labels differ ({list_labels(first[1])} against "
        f"{list_labels(other[1])}). Rename labels that mean the same under 'labels' of an expert, or set 'heads' to "
        "'union' (one head that knows every label) or 'own' (each expert keeps its head over the merged encoder)."
    )
