"""RegMean small enough to be drawn: two experts, one output of one layer, two of its inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fusion_ui.checkpoints.layouts import is_linear_weight
from fusion_ui.errors import MergeError
from fusion_ui.merging.groups import position_of
from fusion_ui.merging.layers import layer_of
from fusion_ui.merging.plan import MergePlan, measure_statistics
from fusion_ui.merging.slots import SlotSource
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.solving.normal_equations import NormalEquations

NUM_CANDIDATES = 32
"""Inputs among which the two are sought: those through which the two experts' outputs differ most."""

Point = tuple[float, float]


@dataclass(frozen=True)
class TwoFeatures:
    """Two experts' least squares in two weights of one output; every other weight is as in each expert itself.

    So the error of expert i is (w - w_i)^T Gbar_i (w - w_i), of the two weights alone, with the part of its Gram matrix
    that belongs to them. The merge of the layer solves for all inputs at once, and may put these two elsewhere.

    Attributes:
        name: of the weight.
        width: inputs of the layer.
        unit: the output.
        features: the two inputs.
        experts: the two experts' names.
        weights: their coefficients, adding up to one.
        points: the two weights in each expert.
        grams: mean over each expert's rows of the products of the two inputs.
    """

    name: str
    width: int
    unit: int
    features: tuple[int, int]
    experts: tuple[str, str]
    weights: Point
    points: tuple[Point, Point]
    grams: tuple[tuple[Point, Point], tuple[Point, Point]]

    @property
    def mean(self) -> Point:
        """The simple mean of the two experts' weights."""
        (a, b), (first, second) = self.weights, self.points
        return a * first[0] + b * second[0], a * first[1] + b * second[1]

    def solve(self, alpha: float) -> Point:
        """RegMean of the two weights, by the solver of every merge, in float64."""
        grams = tuple(torch.tensor(gram, dtype=torch.float64) for gram in self.grams)
        equations = NormalEquations(grams, (1, 1), self.weights, dtype=torch.float64)
        mean = torch.tensor([self.mean], dtype=torch.float64)
        experts = torch.tensor(self.points, dtype=torch.float64)[:, None]
        merged, _ = equations.factorise(mean, experts - mean).solve(alpha)
        return merged[0, 0].item(), merged[0, 1].item()

    def error(self, expert: int, point: Point) -> float:
        """Mean squared difference of the output from what the expert gives on its own domain."""
        x, y = (value - own for value, own in zip(point, self.points[expert], strict=True))
        (a, b), (_, c) = self.grams[expert]
        return a * x * x + 2 * b * x * y + c * y * y


def list_layers(plan: MergePlan) -> list[str]:
    """The weights of linear layers, in the order in which the model computes."""
    tensors = plan.experts[0].tensors
    names = [name for name in tensors.names if is_linear_weight(name, tensors.shape(name))]
    return sorted((name for name in names if layer_of(name) is not None), key=position_of)


def choose_layer(plan: MergePlan) -> str:
    """The first weight of the last layer."""
    names = list_layers(plan)
    last = max((layer_of(name) or 0 for name in names), default=None)
    return next((name for name in names if layer_of(name) == last), "")


def find_two_features(
    plan: MergePlan, settings: Settings, name: str, experts: tuple[str, str], progress: Progress
) -> TwoFeatures:
    """Read a layer of the plan, and choose the output and the two inputs that show most.

    Raises:
        MergeError: there is no such layer or expert, or it has no Gram matrices.
    """
    names = [expert.name for expert in plan.experts]
    if len(set(experts)) < 2 or not set(experts) <= set(names):
        raise MergeError(f"Choose two different experts of the merge. They are: {', '.join(names)[:200]}.")
    if name not in list_layers(plan):
        raise MergeError(f"The models have no layer {str(name)[:80]!r}. Choose another.")
    statistics = measure_statistics(plan, settings, progress)
    source = SlotSource(plan.experts, plan.recipe.weights, statistics, labels=plan.labels)
    (slot,) = source.slots([name])
    with progress.turn():
        return choose_two_features(slot, (names.index(experts[0]), names.index(experts[1])), experts)


def choose_two_features(slot: ParameterSlot, pair: tuple[int, int], experts: tuple[str, str]) -> TwoFeatures:
    """The output in which two experts differ most, and the two inputs where RegMean gains most on the mean.

    Raises:
        MergeError: the layer has no Gram matrices, or the two experts hardly differ in it.
    """
    if slot.equations is None or slot.experts.shape[2] < 2:
        raise MergeError(f"{slot.name} has no Gram matrices to draw: {slot.equations_missing or 'one input alone'}.")
    grams = torch.stack([slot.equations.grams[i].double() / slot.equations.num_rows[i] for i in pair])
    first, second = (slot.experts[i].double() for i in pair)
    difference = first - second
    unit = int(((difference @ grams.sum(0)) * difference).sum(1).argmax())
    total = slot.weights[pair[0]] + slot.weights[pair[1]]
    weights = (slot.weights[pair[0]] / total, slot.weights[pair[1]] / total) if total else (0.5, 0.5)
    features = _find_features(difference[unit], grams, weights)
    index = list(features)
    small = [[(row[0], row[1]) for row in gram[index][:, index].tolist()] for gram in grams]
    points = [(row[0], row[1]) for row in (w[unit, index].tolist() for w in (first, second))]
    return TwoFeatures(
        slot.name,
        slot.experts.shape[2],
        unit,
        features,
        experts,
        weights,
        (points[0], points[1]),
        ((small[0][0], small[0][1]), (small[1][0], small[1][1])),
    )


def _find_features(difference: Float[Tensor, " n"], grams: Float[Tensor, "2 n n"], weights: Point) -> tuple[int, int]:
    """The two inputs in which the least squares error of the mean exceeds that of RegMean at alpha 1 most.

    With d = w_1 - w_2 and S = c_1 G_1 + c_2 G_2 that is c_1 c_2 d^T (c_2 G_1 + c_1 G_2 - G_1 S^-1 G_2) d.
    """
    strength = difference.square() * grams.diagonal(dim1=1, dim2=2).sum(0)
    likely = strength.topk(min(NUM_CANDIDATES, len(strength))).indices.sort().values
    pairs = torch.combinations(likely)
    first, second = (gram[pairs[:, :, None], pairs[:, None]] for gram in grams)
    a, b = weights
    inverse = torch.linalg.pinv(a * first + b * second, hermitian=True)
    gain, d = b * first + a * second - first @ inverse @ second, difference[pairs]
    best = int((d[:, None] @ gain @ d[:, :, None]).flatten().argmax())
    return int(pairs[best, 0]), int(pairs[best, 1])
