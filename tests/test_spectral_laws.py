"""The laws of methods on matrices, in float64: Iso-C and TSV-Merge, and what they share with RegMean without data.

1e-12 of the result where nothing divides. Singular directions are moved by rounding over the gap between two singular
values; those of random matrices may be 1e-3 apart, and their inverses are taken too, so there it is 1e-9.
"""

from __future__ import annotations

import geometry_oracles as oracles
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import Array
from spectral_problems import GAP_TOLERANCE, Problem, assert_same, merge, problems, singular_values

from fusion_ui.methods.base import MergeMethod
from fusion_ui.methods.data_free_regmean import DataFreeRegMean
from fusion_ui.methods.iso_c import IsoC
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.methods.tsv_merge import TsvMerge
from fusion_ui.solving import spectrum
from fusion_ui.solving.spectrum import decompose, nearest_orthonormal, rounding_floor
from fusion_ui.solving.treatment import Treatment

NEEDING_A_BASE = (IsoC, TsvMerge, DataFreeRegMean)


# Iso-C


@given(problem=problems())
def test_iso_c_is_the_polar_factor_of_the_sum(problem: Problem):
    merged, treatment = merge(IsoC(), problem)
    assert_same(merged, oracles.iso_c(problem.base, problem.experts, problem.scaled), GAP_TOLERANCE)
    assert treatment == Treatment("iso")


@given(problem=problems())
def test_iso_c_makes_all_singular_values_equal_and_keeps_their_sum(problem: Problem):
    found = singular_values(merge(IsoC(), problem)[0] - problem.base)
    assert_same(found, np.full_like(found, singular_values(problem.total).mean()))


def test_iso_c_by_hand():
    # Two updates that add up to [[0, 3], [-1, 0]]: singular values 3 and 1, on average 2.
    base = np.ones((2, 2))
    updates = [np.array([[0, 1.0], [-1.0, 0]]), np.array([[0, 2.0], [0, 0]])]
    problem = Problem(base, tuple(base + u for u in updates), (0.5, 0.5))
    assert_same(merge(IsoC(), problem)[0], base + np.array([[0, 2.0], [-2.0, 0]]))
    assert_same(merge(IsoC(scaling_coefficient=0.5), problem)[0], base + np.array([[0, 1.0], [-1.0, 0]]))


@given(rank=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_iso_c_of_adapters_strengthens_no_direction_that_only_rounding_made(rank: int, seed: int):
    generator = np.random.default_rng(seed)
    base = generator.standard_normal((24, 30)).astype(np.float32)
    updates = [generator.standard_normal((24, rank)) @ generator.standard_normal((rank, 30)) for _ in range(2)]
    experts = tuple((base + 0.01 * u).astype(np.float32) for u in updates)
    # Stored in float32, the sum has full rank.
    stored = singular_values(sum(e.astype(np.float64) - base for e in experts))
    assert stored[2 * rank] > 1e-9
    merged, treatment = merge(IsoC(), Problem(base, experts, (0.5, 0.5)))
    assert treatment.num_cut == 24 - 2 * rank
    found = singular_values(merged.astype(np.float64) - base)
    np.testing.assert_allclose(found[: 2 * rank], stored[: 2 * rank].mean(), rtol=1e-3)
    np.testing.assert_allclose(found[2 * rank :], 0, atol=1e-5)


# TSV-Merge


@given(problem=problems())
def test_tsv_merge_is_the_paper_step_by_step(problem: Problem):
    merged, treatment = merge(TsvMerge(), problem)
    rank = min(problem.base.shape) // len(problem.experts)
    parts = [np.linalg.svd(u, full_matrices=False) for u in problem.updates]
    stacked = [np.concatenate([u[:, :rank] for u, _, _ in parts], 1), np.concatenate([v[:rank] for _, _, v in parts]).T]
    assume(all(singular_values(s).min() > 1e-3 for s in stacked))
    assert_same(merged, oracles.tsv_merge(problem.base, problem.experts, problem.scaled), GAP_TOLERANCE)
    assert treatment == Treatment("tsv")


@given(problem=problems())
def test_tsv_merge_of_one_task_is_the_task(problem: Problem):
    one = Problem(problem.base, problem.experts[:1], (1.0,))
    assert_same(merge(TsvMerge(), one)[0], problem.experts[0])


@given(problem=problems())
def test_tsv_merge_keeps_every_tasks_strongest_singular_values(problem: Problem):
    rank = min(problem.base.shape) // len(problem.experts)
    merged, treatment = merge(TsvMerge(), problem)
    assume(treatment.num_cut == 0)
    kept = [c * s for c, u in zip(problem.scaled, problem.updates, strict=True) for s in singular_values(u)[:rank]]
    found = singular_values(merged - problem.base)
    assert_same(found[: len(kept)], np.sort(kept)[::-1], GAP_TOLERANCE)
    assert_same(found[len(kept) :], np.zeros(len(found) - len(kept)), GAP_TOLERANCE)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 3))
def test_tsv_merge_of_tasks_that_do_not_interfere_is_their_sum(seed: int, count: int):
    generator = np.random.default_rng(seed)
    left, right = (np.linalg.qr(generator.standard_normal((7, 6)))[0] for _ in range(2))
    width = 6 // count
    parts = [slice(i * width, (i + 1) * width) for i in range(count)]
    updates = [left[:, p] @ np.diag(generator.uniform(1, 2, width)) @ right[:, p].T for p in parts]
    base = generator.standard_normal((7, 7))
    problem = Problem(base, tuple(base + u for u in updates), (1 / count,) * count)
    assert_same(merge(TsvMerge(), problem)[0], base + sum(updates), GAP_TOLERANCE)


@given(problem=problems(), count=st.integers(2, 3))
def test_tsv_merge_of_the_same_task_several_times_is_its_strongest_part_once(problem: Problem, count: int):
    same = Problem(problem.base, problem.experts[:1] * count, (1 / count,) * count)
    merged, treatment = merge(TsvMerge(), same)
    u, s, v = np.linalg.svd(problem.updates[0], full_matrices=False)
    rank = len(s) // count
    assert_same(merged, problem.base + u[:, :rank] @ np.diag(s[:rank]) @ v[:rank], GAP_TOLERANCE)
    assert treatment.num_cut == rank * (count - 1)  # directions that they share, which stay shared


def test_tsv_merge_by_hand():
    # Each keeps one direction. (1, 0) and (3/5, 4/5), 53 degrees apart, are turned by half of what lacks to 90.
    first, second = np.array([[1.0, 0], [0, 0.5]]), np.array([[0, 3 * 0.6], [0, 3 * 0.8]])
    base = np.zeros((2, 2))
    merged, _ = merge(TsvMerge(), Problem(base, (first, second), (0.5, 0.5)))
    left = np.array([[3, 1], [-1, 3.0]]) / 10**0.5
    assert_same(merged, left @ np.diag([1.0, 3.0]))
    weighted, _ = merge(TsvMerge(scaling_coefficient=2), Problem(base, (first, second), (0.75, 0.25)))
    assert_same(weighted, left @ np.diag([3.0, 3.0]))


@given(problem=problems(min_experts=2))
def test_an_expert_with_weight_0_takes_no_place(problem: Problem):
    count = len(problem.experts)
    stranger = Problem(problem.base, (*problem.experts, problem.base + 1), (*problem.coefficients, 0.0))
    # Scaled coefficients count all experts, also those that weigh nothing.
    larger = TsvMerge(scaling_coefficient=(count + 1) / count)
    assert_same(merge(TsvMerge(), stranger)[0], merge(larger, problem)[0], GAP_TOLERANCE)


def test_a_matrix_too_narrow_for_every_expert_gets_the_mean_task_vector_and_it_is_said():
    generator = np.random.default_rng(0)
    base = generator.standard_normal((2, 5))
    experts = tuple(base + generator.standard_normal((2, 5)) for _ in range(3))
    problem = Problem(base, experts, (0.2, 0.3, 0.5))
    merged, treatment = merge(TsvMerge(scaling_coefficient=0.5), problem)
    assert_same(merged, base + 0.5 * (problem.mean - base))
    assert treatment.path == "mean task vector" and "fewer rows or columns than experts" in treatment.reason


# Decompositions


@given(seed=st.integers(0, 2**32 - 1), tall=st.booleans(), spread=st.floats(0, 6))
def test_the_quick_decomposition_errs_less_than_storing_in_float32_did(seed: int, tall: bool, spread: float):
    # A weight of ordinary size and an update whose singular values fall from 1e-1 to 1e-1 / 10^spread.
    generator = np.random.default_rng(seed)
    shape = (20, 12) if tall else (12, 20)
    left, right = (np.linalg.qr(generator.standard_normal((n, 12)))[0] for n in shape)
    update = left @ np.diag(0.1 * 10.0 ** np.linspace(0, -spread, 12)) @ right.T
    base = generator.standard_normal(shape).astype(np.float32)
    stored = torch.tensor((base + update).astype(np.float32))
    difference, floor = stored.double() - torch.tensor(base), rounding_floor(stored, torch.finfo(stored.dtype).eps)
    quick = decompose(difference, floor)
    exact = np.linalg.svd(difference.numpy(), full_matrices=False)
    true = np.linalg.svd(update, full_matrices=False)
    num_kept = len(quick.values)
    assert 0 < num_kept <= 12 and num_kept + quick.num_cut == 12
    np.testing.assert_allclose(quick.values, exact[1][:num_kept], rtol=1e-2 if num_kept < 12 else 1e-3)

    def flatten(u: Array, v: Array) -> Array:
        return u[:, :num_kept] @ v[:num_kept]

    by_quick = np.abs(flatten(quick.left.numpy(), quick.right.numpy()) - flatten(exact[0], exact[2])).max()
    by_storing = np.abs(flatten(true[0], true[2]) - flatten(exact[0], exact[2])).max()
    assert by_quick < max(by_storing, 1e-12)


@given(problem=problems(), rank=st.integers(1, 3))
def test_both_decompositions_give_the_matrix_back(problem: Problem, rank: int):
    matrix = torch.tensor(problem.updates[0])
    for squarable in (0.0, 1.0):  # always, and never
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spectrum, "SQUARABLE", squarable)
            found, part = decompose(matrix, 1e-15), decompose(matrix, 1e-15, rank)
        assert_same((found.left * found.values @ found.right).numpy(), matrix.numpy())
        assert torch.equal(part.values, found.values[:rank]) and part.num_cut == 0
        eye = np.eye(len(found.values))
        assert_same((found.left.T @ found.left).numpy(), eye, GAP_TOLERANCE)
        assert_same((found.right @ found.right.T).numpy(), eye, GAP_TOLERANCE)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5))
def test_the_nearest_orthonormal_matrix_is_newtons(seed: int, count: int):
    vectors = np.random.default_rng(seed).standard_normal((6, count))
    vectors /= np.linalg.norm(vectors, axis=0)
    assume(singular_values(vectors).min() > 1e-3)
    found, num_cut = nearest_orthonormal(torch.tensor(vectors))
    assert_same(found.numpy(), oracles.polar_factor(vectors), GAP_TOLERANCE)
    assert num_cut == 0


# All that need a base


@pytest.mark.parametrize("kind", NEEDING_A_BASE)
@given(problem=problems())
def test_moving_base_and_experts_moves_the_merge(kind: type[MergeMethod], problem: Problem):
    shift = np.linspace(-1, 1, problem.base.size).reshape(problem.base.shape)
    moved = Problem(problem.base + shift, tuple(e + shift for e in problem.experts), problem.coefficients)
    assert_same(merge(kind(), moved)[0], merge(kind(), problem)[0] + shift, GAP_TOLERANCE)


@pytest.mark.parametrize("kind", NEEDING_A_BASE)
@given(problem=problems())
def test_the_order_of_experts_does_not_matter(kind: type[MergeMethod], problem: Problem):
    turned = Problem(problem.base, problem.experts[::-1], problem.coefficients[::-1])
    assert_same(merge(kind(), turned)[0], merge(kind(), problem)[0], GAP_TOLERANCE)


@pytest.mark.parametrize("kind", [IsoC, TsvMerge])
@given(problem=problems(), seed=st.integers(0, 2**32 - 1))
def test_other_axes_for_inputs_and_outputs_give_the_same_map(kind: type[MergeMethod], problem: Problem, seed: int):
    generator = np.random.default_rng(seed)
    left, right = (np.linalg.qr(generator.standard_normal((n, n)))[0] for n in problem.base.shape)
    turned = Problem(
        left @ problem.base @ right, tuple(left @ e @ right for e in problem.experts), problem.coefficients
    )
    assert_same(merge(kind(), turned)[0], left @ merge(kind(), problem)[0] @ right, GAP_TOLERANCE)


@pytest.mark.parametrize("kind", [IsoC, TsvMerge])
@given(problem=problems(), scaling=st.floats(0, 3))
def test_the_scaling_coefficient_goes_straight_on_from_the_base(
    kind: type[MergeMethod], problem: Problem, scaling: float
):
    whole = merge(kind(), problem)[0] - problem.base
    assert_same(merge(kind(scaling_coefficient=scaling), problem)[0], problem.base + scaling * whole)
    np.testing.assert_array_equal(merge(kind(scaling_coefficient=0), problem)[0], problem.base)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", NEEDING_A_BASE)
def test_experts_that_are_the_base_give_the_base(kind: type[MergeMethod], dtype: torch.dtype):
    base = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    for experts in (base.repeat(3, 1, 1), base.expand(3, 4, 6)):
        slot = ParameterSlot("w", experts, (0.2, 0.3, 0.5), base, is_linear=True)
        merged, _ = kind().merge_parameter(slot)
        torch.testing.assert_close(merged, base, rtol=2 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("kind", [IsoC, TsvMerge])
@pytest.mark.parametrize("shape", [(), (5,), (4, 6), (2, 3, 2)])
def test_what_is_no_linear_weight_gets_the_scaled_mean_task_vector(kind: type[MergeMethod], shape: tuple[int, ...]):
    generator = np.random.default_rng(1)
    base = np.asarray(generator.standard_normal(shape))
    problem = Problem(base, tuple(base + generator.standard_normal(shape) for _ in range(2)), (0.25, 0.75))
    merged, treatment = merge(kind(scaling_coefficient=0.5), problem, is_linear=False)
    assert_same(merged, base + 0.5 * (problem.mean - base))
    assert treatment == Treatment("mean task vector", reason="not the weight of a linear layer")
