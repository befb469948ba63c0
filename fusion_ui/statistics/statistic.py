"""The measured quantity itself, and what must be known about it to use it honestly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from torch import Tensor


class StatisticKind(StrEnum):
    """What a statistic holds."""

    GRAM = "gram"
    FISHER = "fisher"


@dataclass(frozen=True)
class LinearInput:
    """Where one linear weight finds the Gram matrix of its inputs.

    Attributes:
        tensor: key of the Gram in `Statistic.tensors`; query, key and value of a layer share one. Empty if no Gram
            could be collected, with the reason in `reason`.
        num_rows: rows of X that were summed, N in G / N: real tokens for most layers, examples for a head.
        is_transposed: the module stores (in, out), as GPT-2's Conv1D does, instead of (out, in).
        reason: why there is no Gram, or what was left out of it.
    """

    tensor: str
    num_rows: int
    is_transposed: bool = False
    reason: str = ""


@dataclass(frozen=True)
class StatisticSettings:
    """How a statistic is to be measured. Part of a recipe and of the cache key.

    Attributes:
        num_examples, seed: how many texts, and which.
        count_padding: padding tokens are counted as data.
        token_counts: Grams come with the number of times each token occurred.
        input_sums: Grams are of [x, 1] in place of x: their last row and column hold the sums of the inputs, and the
            number of rows.
    """

    num_examples: int = 256
    seed: int = 0
    count_padding: bool = False
    token_counts: bool = False
    input_sums: bool = False

    @property
    def is_extended(self) -> bool:
        """True if something beyond plain Grams or Fisher information is asked for."""
        return any(getattr(self, name) for name in EXTENSIONS)

    def describe(self) -> dict[str, Any]:
        """As JSON values. Extensions stand there only where asked for, so plain keys and files stay as they were."""
        return {name: value for name, value in asdict(self).items() if value or name not in EXTENSIONS}


EXTENSIONS = ("token_counts", "input_sums")
"""Settings that came after the first files and cache entries were made."""


@dataclass(frozen=True, eq=False)
class Statistic:
    """Gram matrices or Fisher information of one checkpoint on one domain.

    Attributes:
        kind: which of the two.
        checkpoint: fingerprint of the weights it was measured on.
        domain: fingerprint of the text it was measured on.
        settings: number of examples, seed, padding rule.
        num_examples: examples used, at most `settings.num_examples`.
        num_tokens: real tokens used.
        tensors: for a Gram, key -> SUM of x xᵀ, float64, shape (in, in), not divided by the number of rows, and one
            larger with `settings.input_sums`; for Fisher, parameter name -> mean over examples of the squared
            gradient, shape of the parameter.
        inputs: for a Gram, weight name -> where its Gram is. Empty for Fisher.
        is_diagonal: only the diagonals of the Grams were kept; everything else in them is zero.
        token_counts: for a Gram, name of the word embedding -> how often each of its rows was used, shape (row,);
            empty unless asked for.
    """

    kind: StatisticKind
    checkpoint: str
    domain: str
    settings: StatisticSettings
    num_examples: int
    num_tokens: int
    tensors: Mapping[str, Tensor]
    inputs: Mapping[str, LinearInput]
    is_diagonal: bool = False
    token_counts: Mapping[str, Tensor] = field(default_factory=dict)
