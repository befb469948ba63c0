"""What holds for every method on task vectors: where it starts, what it is blind to, and what it must survive."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from task_vector_slots import IDENTITY, Problem, assert_same, exact_problems, merge, merge_made, problems

from fusion_ui.methods import METHODS, make_method
from fusion_ui.methods.slot import ParameterSlot

every_method = pytest.mark.parametrize("name", IDENTITY)


def test_no_method_on_task_vectors_is_left_out():
    assert {*IDENTITY} <= {method.name for method in METHODS if method.needs_base}


@every_method
@given(problem=problems(least=2))
def test_without_scaling_it_is_the_base(name: str, problem: Problem):
    assert np.array_equal(merge_made(name, problem, scaling_coefficient=0), problem.base)


# Of Consensus one expert agrees with nobody, and is refused before.
@pytest.mark.parametrize("name", [name for name in IDENTITY if name != "consensus"])
@given(problem=problems())
def test_one_expert_untrimmed_is_that_expert(name: str, problem: Problem):
    one = Problem(problem.base, problem.vectors[:1], [1.0], problem.seeds[:1])
    assert_same(merge_made(name, one, scaling_coefficient=1, **IDENTITY[name]), one.base + one.vectors[0])


@every_method
@given(problem=problems(least=2), first=st.floats(0, 1), second=st.floats(0, 1))
def test_the_way_from_the_base_is_straight(name: str, problem: Problem, first: float, second: float):
    a, b, c = (merge_made(name, problem, scaling_coefficient=s) - problem.base for s in (first, second, first + second))
    np.testing.assert_allclose(a + b, c, rtol=1e-10, atol=1e-11)


@every_method
@given(problem=exact_problems(), exponent=st.integers(-30, 30), sign=st.sampled_from([1, -1]))
def test_a_common_scale_of_all_task_vectors_scales_the_update(name: str, problem: Problem, exponent: int, sign: int):
    # Around a base of zeros powers of two change no rounding, so the bits agree, ties and all.
    factor, base = sign * 2.0**exponent, np.zeros_like(problem.base)
    plain = Problem(base, problem.vectors, problem.weights, problem.seeds)
    scaled = Problem(base, [factor * vector for vector in problem.vectors], problem.weights, problem.seeds)
    assert np.array_equal(merge_made(name, scaled), factor * merge_made(name, plain))


@every_method
@given(problem=exact_problems(), offset=st.integers(-1000, 1000))
def test_moving_base_and_experts_moves_the_merge(name: str, problem: Problem, offset: int):
    moved = Problem(problem.base + offset / 64, problem.vectors, problem.weights, problem.seeds)
    assert_same(merge_made(name, moved), merge_made(name, problem) + offset / 64)


@every_method
@given(problem=exact_problems())
def test_order_does_not_matter_even_where_votes_tie(name: str, problem: Problem):
    turned = Problem(problem.base, problem.vectors[::-1], problem.weights, problem.seeds[::-1])
    np.testing.assert_allclose(merge_made(name, turned), merge_made(name, problem), rtol=1e-14, atol=1e-14)


@every_method
def test_experts_that_equal_the_base_give_the_base(name: str):
    base = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    for experts in (base.expand(3, 3, 4), base.repeat(3, 1, 1)):
        slot = ParameterSlot("w", experts, (0.2, 0.3, 0.5), base, seeds=(0, 1, 2))
        merged, treatment = merge(name, slot)
        assert np.array_equal(merged, base.numpy())
        assert (treatment.share_kept, treatment.share_conflicting) == (1, 0)


@every_method
def test_experts_stacked_without_a_copy_are_merged_as_copies(name: str):
    base, expert = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    slot = ParameterSlot("w", expert.expand(3, 3, 4), (0.2, 0.3, 0.5), base, seeds=(0, 1, 2))
    copied = replace(slot, experts=expert.repeat(3, 1, 1))
    assert np.array_equal(merge(name, slot)[0], merge(name, copied)[0])


@every_method
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_values_born_in_half_precision_stay_finite(name: str, dtype: torch.dtype):
    # Differences of few bits: many are equal, many are zero, and one expert has not moved at all.
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(40, 30, generator=generator).to(dtype)
    moved = [(base + 0.01 * torch.randn(40, 30, generator=generator)).to(dtype) for _ in range(2)]
    experts = torch.stack([base, *moved]).float()
    slot = ParameterSlot("w", experts, (0.2, 0.3, 0.5), base.float(), seeds=(0, 1, 2))
    merged, treatment = merge(name, slot)
    assert merged.dtype == np.float32 and np.isfinite(merged).all()
    assert not np.array_equal(merged, base.float().numpy())
    assert 0 < treatment.share_kept <= 1


@every_method
def test_float32_agrees_with_float64(name: str):
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(30, 40, generator=generator)
    experts = base + 0.02 * torch.randn(3, 30, 40, generator=generator)
    slot = ParameterSlot("w", experts, (0.2, 0.3, 0.5), base, seeds=(0, 1, 2))
    exact = replace(slot, experts=experts.double(), base=base.double())
    merged, expected = merge(name, slot)[0], merge(name, exact)[0]
    np.testing.assert_allclose(merged, expected, rtol=1e-6, atol=1e-6)


@every_method
def test_without_a_base_there_is_nothing_to_work_on(name: str):
    with pytest.raises(ValueError, match="w has no base to take task vectors from"):
        make_method(name, {}).merge_parameter(ParameterSlot("w", torch.ones(2, 3), (0.5, 0.5)))
