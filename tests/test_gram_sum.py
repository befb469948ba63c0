"""A sum of x x^T, half by half: the whole symmetric matrix, whatever its width, its parts and the number of rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fusion_ui.statistics import gram_sum
from fusion_ui.statistics.gram_sum import STRIP, GramSum
from fusion_ui.statistics.symmetric_products import add_products

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
    width=st.sampled_from([1, 2, STRIP - 1, STRIP, STRIP + 1, 2 * STRIP + 3, 4 * STRIP]),
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


@given(counts=st.lists(st.integers(0, 30), min_size=2, max_size=2), limit=st.integers(5, 40))
def test_two_sums_are_one(counts, limit):
    rows, (first, second) = rows_of(sum(counts), STRIP + 9), (GramSum(STRIP + 9), GramSum(STRIP + 9))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gram_sum, "ROWS_IN_FLOAT32", limit)
        for sums, part in zip((first, second), rows.split(counts), strict=True):
            for some in part.split(7):
                sums.add(some)
        first.absorb(second)
        total = first.total()
    assert first.num_rows == len(rows) and torch.equal(total, total.T)
    assert error(total, rows) < MAX_ERROR if len(rows) else not total.any()


def test_products_are_added_above_the_diagonal_and_nothing_is_read_before_the_first():
    rows, total = rows_of(50, 70), torch.full((70, 70), torch.nan)
    add_products(total, rows[:20], is_first=True)
    add_products(total, rows[20:], is_first=False)
    assert total.tril(-1)[1:, :1].isnan().all(), "what lies below is not touched"
    exact = rows.double().T @ rows.double()
    assert torch.allclose(total.triu().double(), exact.triu(), rtol=1e-5)


def test_rows_that_lie_otherwise_in_memory_are_the_same_rows():
    rows, sums = rows_of(60, 33), GramSum(33)
    sums.add(rows.T.contiguous().T)
    sums.add(rows.double()[::2])
    assert error(sums.total(), torch.cat([rows, rows[::2]])) < MAX_ERROR
