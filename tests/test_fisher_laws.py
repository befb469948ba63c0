"""Fisher-weighted averaging: the laws of the mean, and the information itself against brute force."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import Array
from tiny_models import random_tokens, tiny_bert, tiny_gpt2

from fusion_ui.domains.batches import EncodedText
from fusion_ui.errors import StoppedError
from fusion_ui.methods.fisher import FisherMean
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.progress import Progress
from fusion_ui.solving.treatment import Treatment
from fusion_ui.statistics.fisher import accumulate_fisher
from fusion_ui.tasks.sequence_classification import SequenceClassification

TASK = SequenceClassification()


def make_slot(experts: Sequence[Array], fishers: Sequence[Array], coefficients: Sequence[float]) -> ParameterSlot:
    """A float64 slot; norms are those of this one parameter."""
    return ParameterSlot(
        "weight",
        torch.tensor(np.array(experts)),
        tuple(float(c) for c in coefficients),
        fishers=torch.tensor(np.array(fishers)),
        fisher_norms=tuple(float(np.linalg.norm(fisher)) for fisher in fishers),
    )


def merge(slot: ParameterSlot, *, normalise: bool = False) -> tuple[Array, Treatment]:
    merged, treatment = FisherMean(normalise=normalise).merge_parameter(slot)
    return merged.numpy(), treatment


Experts = tuple[list[Array], list[Array], list[float]]


@st.composite
def problems(draw: st.DrawFn) -> Experts:
    """Experts, their Fisher information (spread over twelve orders of magnitude, as in real models), coefficients."""
    count, shape = draw(st.integers(1, 4)), draw(st.sampled_from([(), (5,), (3, 4), (2, 3, 2)]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    experts = [generator.standard_normal(shape) for _ in range(count)]
    fishers = [np.asarray(10.0 ** generator.uniform(-12, 0, shape)) for _ in range(count)]
    coefficients = generator.uniform(0.1, 1, count)
    return experts, fishers, (coefficients / coefficients.sum()).tolist()


def assert_same(merged: Array, expected: Array) -> None:
    np.testing.assert_allclose(merged, expected, rtol=1e-12, atol=1e-12)


def mean_of(problem: Experts) -> Array:
    return sum(c * e for c, e in zip(problem[2], problem[0], strict=True))


@given(problem=problems())
def test_it_is_the_weighted_mean_entry_by_entry(problem: Experts):
    assert_same(merge(make_slot(*problem))[0], oracles.fisher_mean(*problem))


def test_an_example_by_hand():
    # c = (1/4, 3/4), F = (2, 0, 1) and (2, 5, 1/3), experts (1, 1, 1) and (5, 5, 5).
    slot = make_slot([np.ones(3), np.full(3, 5.0)], [np.array([2, 0, 1.0]), np.array([2, 5, 1 / 3])], [0.25, 0.75])
    # Equal F: 1/4 + 15/4 = 4.  Only the second knows: 5.  1/4 against 1/4: the midpoint, 3.
    assert_same(merge(slot)[0], np.array([4.0, 5.0, 3.0]))


@given(problem=problems())
def test_equal_information_gives_the_mean(problem: Experts):
    experts, fishers, coefficients = problem
    slot = make_slot(experts, fishers[:1] * len(experts), coefficients)
    assert_same(merge(slot)[0], mean_of(problem))


@given(problem=problems(), exponent=st.floats(-100, 100), normalise=st.booleans())
def test_a_common_scale_changes_nothing(problem: Experts, exponent: float, normalise: bool):
    experts, fishers, coefficients = problem
    scaled = make_slot(experts, [10.0**exponent * fisher for fisher in fishers], coefficients)
    assert_same(merge(scaled, normalise=normalise)[0], merge(make_slot(*problem), normalise=normalise)[0])


@given(problem=problems(), exponent=st.floats(-5, 5))
def test_only_normalised_information_does_not_care_about_one_experts_scale(problem: Experts, exponent: float):
    experts, fishers, coefficients = problem
    scaled = make_slot(experts, [10.0**exponent * fishers[0], *fishers[1:]], coefficients)
    assert_same(merge(scaled, normalise=True)[0], merge(make_slot(*problem), normalise=True)[0])
    normalised = [fisher / np.linalg.norm(fisher) for fisher in fishers]
    assert_same(merge(scaled, normalise=True)[0], oracles.fisher_mean(experts, normalised, coefficients))
    assert_same(
        merge(scaled)[0], oracles.fisher_mean(experts, [10.0**exponent * fishers[0], *fishers[1:]], coefficients)
    )


@given(problem=problems(), seed=st.integers(0, 2**32 - 1))
def test_entries_nobody_knows_anything_about_keep_the_mean_and_are_counted(problem: Experts, seed: int):
    experts, fishers, coefficients = problem
    is_flat = np.random.default_rng(seed).random(experts[0].shape) < 0.5
    slot = make_slot(experts, [np.where(is_flat, 0.0, fisher) for fisher in fishers], coefficients)
    merged, treatment = merge(slot)
    assert treatment.path == "fisher"
    # Experts that agree exactly leave nothing to weigh, and then nothing is counted.
    assert treatment.num_flat == (is_flat.sum() if slot.deltas.any() else 0)
    assert_same(merged[is_flat], mean_of(problem)[is_flat])
    assert_same(merged[~is_flat], oracles.fisher_mean(experts, fishers, coefficients)[~is_flat])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", [0.0, torch.finfo(torch.float64).tiny])
def test_an_expert_without_any_information_leaves_it_to_the_others(dtype: torch.dtype, norm: float):
    # A norm of zero may be reported as the smallest float64, which is zero again in float32.
    fishers = torch.tensor([[0.0, 0.0], [0.5, 0.5]], dtype=dtype)
    norms = (norm, 0.5**0.5)
    experts = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=dtype)
    slot = ParameterSlot("weight", experts, (0.5, 0.5), fishers=fishers, fisher_norms=norms)
    for normalise in (False, True):
        merged, treatment = merge(slot, normalise=normalise)
        np.testing.assert_allclose(merged, [3.0, 4.0], rtol=1e-6)
        assert treatment.num_flat == 0


three_labels = partial(tiny_bert, labels=("negative", "neutral", "positive"))


@pytest.fixture(scope="module", params=[tiny_bert, tiny_gpt2, three_labels], ids=["bert", "gpt2", "three labels"])
def measured(request: pytest.FixtureRequest):
    """A tiny model, a few texts, and its Fisher information as the code under test finds it."""
    model, tokens = request.param(seed=3), random_tokens(5, seed=3)
    return model, tokens, accumulate_fisher(TASK, model, [EncodedText(ids) for ids in tokens], Progress())


def test_information_equals_brute_force_example_by_example(measured):
    model, tokens, fisher = measured
    expected = oracles.fisher_by_example(model, tokens)
    assert fisher.keys() == expected.keys() == dict(model.named_parameters()).keys()
    noise = 1e-12 * max(brute.max() for brute in expected.values())  # all that a key's bias gets is rounding
    for name, brute in expected.items():
        assert fisher[name].dtype == torch.float32
        np.testing.assert_allclose(
            fisher[name].numpy(), brute, rtol=1e-3, atol=1e-5 * brute.max() + noise, err_msg=name
        )


def test_information_is_never_all_zero(measured):
    _, _, fisher = measured
    assert all((total >= 0).all() for total in fisher.values())
    # A bias that is added to every key moves all attention scores alike, which the softmax takes away again.
    silent = [name for name, total in fisher.items() if not total.any() and not name.endswith("key.bias")]
    assert silent == []


def test_squaring_the_mean_gradient_would_be_something_else(measured):
    model, tokens, fisher = measured
    wrong = oracles.squared_mean_gradient(model, tokens)
    ratios = [wrong[name].sum() / total.double().sum().item() for name, total in fisher.items() if total.any()]
    assert np.median(ratios) < 0.9


def test_the_model_is_left_as_it_was():
    model = tiny_bert()
    frozen = model.classifier.weight
    model.requires_grad_(True)
    frozen.requires_grad_(False)
    model.bert.embeddings.word_embeddings.sparse = True
    before = {name: p.clone() for name, p in model.named_parameters()}
    state = [(p.requires_grad, p.grad) for p in model.parameters()]
    sparse = [m.sparse for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    accumulate_fisher(TASK, model, [EncodedText(ids) for ids in random_tokens(2)], Progress())
    assert [(p.requires_grad, p.grad) for p in model.parameters()] == state
    assert [m.sparse for m in model.modules() if isinstance(m, torch.nn.Embedding)] == sparse
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_it_stops_between_texts_and_restores_the_model_even_then():
    model, seen = tiny_bert(), []

    def note(fraction: float, message: str) -> None:
        seen.append(fraction)
        if len(seen) == 2:
            progress.stop()

    progress = Progress(note)
    with pytest.raises(StoppedError):
        accumulate_fisher(TASK, model, [EncodedText(ids) for ids in random_tokens(4)], progress)
    assert seen == [0.0, 0.25]
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(m.sparse for m in model.modules() if isinstance(m, torch.nn.Embedding))
