"""A sum of x x^T, block by block: the whole symmetric matrix, whatever its width, its parts and the number of rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fusion_ui.statistics import gram_sum
from fusion_ui.statistics.gram_sum import SMALLEST, GramSum

MAX_ERROR = 5e-7
"""Of sqrt(G_ii G_jj)."""


def rows_of(num_rows: int, width: int, seed: int = 0) -> Tensor:
    """With a common offset, so that sums of products grow with the rows and lose digits in float32."""
    return torch.randn(num_rows, width, generator=torch.Generator().manual_seed(seed)) + 2


def error(total: Tensor, rows: Tensor) -> float:
    exact = rows.double().T @ rows.double()
    norms = exact.diagonal().sqrt()
    return ((total - exact) / norms / norms[:, None]).abs().max().item()


@given(
    width=st.sampled_from([1, 2, SMALLEST - 1, SMALLEST, SMALLEST + 1, 2 * SMALLEST + 3, 5 * SMALLEST]),
    parts=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    limit=st.integers(5, 40),
)
def test_it_is_the_whole_symmetric_product_however_the_rows_come(width, parts, limit):
    rows, sums = rows_of(sum(parts), width), GramSum(width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gram_sum, "ROWS_IN_FLOAT32", limit)
        for part in rows.split(parts):
            sums.add(part)
        total = sums.total()
    assert sums.num_rows == len(rows) and total.dtype == torch.float64
    assert torch.equal(total, total.T)
    if len(rows):
        assert error(total, rows) < MAX_ERROR
    else:
        assert not total.any()


def test_many_rows_are_summed_as_well_as_few():
    rows, sums = rows_of(60_000, 40), GramSum(40)
    for part in rows.split(700):
        sums.add(part)
    assert error(sums.total(), rows) < MAX_ERROR


def test_a_total_may_be_asked_for_between_rows():
    rows, sums = rows_of(90, 200), GramSum(200)
    sums.add(rows[:40])
    assert error(sums.total().clone(), rows[:40]) < MAX_ERROR
    sums.add(rows[40:])
    assert error(sums.total(), rows) < MAX_ERROR
