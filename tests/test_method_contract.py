"""One contract for every merge method: what must hold whatever its formula is."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from dataclasses import MISSING
from typing import Annotated, Any

import pytest
import torch
from torch import Tensor

from fusion_ui.errors import ParameterError
from fusion_ui.methods import METHODS, find_method, make_method
from fusion_ui.methods.base import MergeMethod
from fusion_ui.methods.describe import describe_method, methods_table
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.parameters import Choice, Range, Toggle, declared_parameters
from fusion_ui.solving.normal_equations import NormalEquations

SHAPES = {"linear weight": (3, 4), "bias": (5,), "scalar": (), "word embedding": (7, 2)}


def variants(kind: type[MergeMethod]) -> list[dict[str, Any]]:
    """The defaults, and each parameter at each of its ends or options."""
    found: list[dict[str, Any]] = [{}]
    for name, declared in declared_parameters(kind).items():
        if isinstance(declared, Range):
            found += [{name: declared.minimum}, {name: declared.maximum}]
        elif isinstance(declared, Choice):
            found += [{name: option} for option in declared.options]
        else:
            found += [{name: False}, {name: True}]
    return found


def wrong_values(declared: object) -> list[Any]:
    """Values that a declaration must refuse, each wrong in another way."""
    if isinstance(declared, Range):
        outside = [declared.maximum + 1, declared.minimum - 1, 10**300]
        return [*outside, float("nan"), float("inf"), "abc", "1", True, None, [1]]
    if isinstance(declared, Choice):
        return ["no such option", "", 0, None, True]
    return ["maybe", "true", 0, 1, None]


def make_slot(shape: tuple[int, ...], *, seed: int = 0, num_experts: int = 3, same: bool = False) -> ParameterSlot:
    """A float32 slot with everything that any method may ask for."""
    generator = torch.Generator().manual_seed(seed)
    experts = torch.randn(num_experts, *shape, generator=generator)
    if same:
        experts = experts[:1].repeat(num_experts, *[1] * len(shape))
    weights = torch.rand(num_experts, generator=generator) + 0.1
    coefficients = tuple((weights / weights.sum()).tolist())
    equations = None
    if shape == SHAPES["linear weight"]:
        rows = torch.randn(num_experts, 40, shape[1], generator=generator)
        grams = tuple(x.T @ x for x in rows)
        equations = NormalEquations(grams, (40,) * num_experts, coefficients, torch.finfo(torch.float32).eps)
    fishers = torch.rand(num_experts, *shape, generator=generator) + 0.01
    frequencies = None
    if shape == SHAPES["word embedding"]:
        frequencies = torch.rand(num_experts, shape[0], generator=generator, dtype=torch.float64)
        frequencies[:, 1] = 0.0  # a token that nobody used
    return ParameterSlot(
        name="layer.weight",
        experts=experts,
        weights=coefficients,
        base=torch.randn(shape, generator=generator),
        is_linear=len(shape) == 2,
        equations=equations,
        equations_missing="" if equations else "not the weight of a linear layer",
        token_frequencies=frequencies,
        fishers=fishers,
        fisher_norms=tuple(fisher.norm().item() for fisher in fishers),
        seeds=tuple(range(num_experts)),
    )


def reorder(slot: ParameterSlot, order: list[int]) -> ParameterSlot:
    """The same slot with its experts in another order."""

    def pick(values: tuple) -> tuple:
        return tuple(values[i] for i in order)

    equations = slot.equations
    if equations is not None:
        grams, num_rows, weights = pick(equations.grams), pick(equations.num_rows), pick(equations.weights)
        equations = NormalEquations(grams, num_rows, weights, equations.rounding, equations.dtype)
    return dataclasses.replace(
        slot,
        experts=slot.experts[order],
        weights=pick(slot.weights),
        equations=equations,
        token_frequencies=None if slot.token_frequencies is None else slot.token_frequencies[order],
        fishers=slot.fishers[order],
        fisher_norms=pick(slot.fisher_norms),
        seeds=pick(slot.seeds),
    )


def tensors_of(slot: ParameterSlot) -> list[Tensor]:
    grams = slot.equations.grams if slot.equations else ()
    return [slot.experts, slot.base, slot.fishers, *grams]


@pytest.fixture(params=METHODS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[MergeMethod]:
    return request.param


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def shape(request: pytest.FixtureRequest) -> tuple[int, ...]:
    return request.param


def every(has: Callable[[type[MergeMethod]], object]) -> pytest.MarkDecorator:
    """The methods of which something holds, in the place of all."""
    return pytest.mark.parametrize("kind", filter(has, METHODS), ids=lambda kind: kind.name)


def size_for(kind: type[MergeMethod]) -> int:
    """Three experts, or as many as the method takes."""
    return min(3, kind.num_experts[1] or 3)


def all_merges(kind: type[MergeMethod], slot: ParameterSlot) -> list[Tensor]:
    """The merge under every variant, directly and, where the method has it, in two steps."""
    merged = [make_method(kind.name, v).merge_parameter(slot)[0] for v in variants(kind)]
    if kind.can_prepare():
        finish = kind.prepare_parameter(slot)
        merged += [finish(make_method(kind.name, v))[0] for v in variants(kind)]
    return merged


def test_every_method_says_what_it_is(kind):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", kind.name)
    assert kind.title and kind.title == kind.title.strip()
    assert kind.paper.startswith("https://")
    assert kind.formula and "\n" not in kind.formula
    assert re.fullmatch(r"#[0-9a-f]{6}", kind.color)
    assert kind.summary().endswith(".")
    assert find_method(kind.name) is kind
    assert kind.__dataclass_params__.frozen


def test_names_titles_and_colors_tell_methods_apart():
    for what in ("name", "title", "color"):
        values = [getattr(method, what) for method in METHODS]
        assert len(set(values)) == len(values), f"two methods have the same {what}"


def test_every_field_declares_exactly_one_parameter(kind):
    declared = declared_parameters(kind)
    assert list(declared) == [field.name for field in dataclasses.fields(kind)]
    assert all(parameter.label and parameter.help.endswith(".") for parameter in declared.values())


def test_a_field_without_one_declaration_and_a_default_is_a_mistake_in_the_code():
    one, two = Range(0, 1, label="a", help="A."), Toggle(label="b", help="B.")
    for annotation, default in ((float, 0.5), (Annotated[float, one, two], 0.5), (Annotated[float, one], MISSING)):
        owner = dataclasses.make_dataclass("Method", [("alpha", annotation, dataclasses.field(default=default))])
        with pytest.raises(TypeError, match=r"Method\.alpha needs one Range, Choice or Toggle, and a default"):
            declared_parameters(owner)


def test_values_outside_the_declaration_are_refused_in_one_form(kind):
    for name, declared in declared_parameters(kind).items():
        for value in wrong_values(declared):
            with pytest.raises(ParameterError) as error:
                make_method(kind.name, {name: value})
            start = f"The '{name}' parameter of {kind.title} must be {declared}. Got "
            assert str(error.value).startswith(start) and str(error.value).endswith(" instead.")
            assert len(str(error.value)) < len(start) + 80  # a huge value does not flood the message


def test_the_message_is_word_for_word_as_documented():
    with pytest.raises(ParameterError) as error:
        find_method("regmean")(alpha=2)  # the constructor checks too, not only recipes
    assert str(error.value) == "The 'alpha' parameter of RegMean must be a number in [0, 1]. Got 2 instead."


def test_a_whole_number_too_large_for_a_float_is_refused_like_any_other():
    # JSON has integers of any length, and math.isfinite does not.
    with pytest.raises(
        ParameterError, match=r"^The 'alpha' parameter of RegMean must be a number in \[0, 1\]\. Got 1000"
    ):
        make_method("regmean", {"alpha": 10**400})


def test_a_range_is_spread_evenly_and_exactly():
    assert Range(0, 1, label="a", help="A.").spread(11) == (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
    assert Range(-2, 2, label="a", help="A.").spread(3) == (-2, 0, 2)


def test_unknown_methods_and_parameters_are_refused_with_what_there_is(kind):
    with pytest.raises(ParameterError, match=f"{re.escape(kind.title)} has no parameter 'beta'"):
        make_method(kind.name, {"beta": 1})
    with pytest.raises(ParameterError, match=f"no merge method 'nothing'.*{kind.name}"):
        make_method("nothing", {})


def test_the_description_is_json_and_stands_in_the_table(kind):
    about = json.loads(json.dumps(describe_method(kind)))
    assert [p["name"] for p in about["parameters"]] == list(declared_parameters(kind))
    assert f"`{kind.name}`" in methods_table()


@every(lambda kind: kind.keeps_identical)
def test_identical_experts_return_the_expert(kind, shape):
    slot = make_slot(shape, same=True, num_experts=size_for(kind))
    for merged in all_merges(kind, slot):
        torch.testing.assert_close(merged, slot.experts[0], rtol=1e-6, atol=1e-6)


def test_what_a_method_cannot_merge_is_said_before(kind):
    least, most = kind.num_experts
    assert kind.find_obstacle(least, has_base=True) == ""
    assert ("base" in kind.find_obstacle(least, has_base=False)) == kind.needs_base
    for number in [least - 1] + ([most + 1] if most else []):
        assert f"and {number} take part" in kind.find_obstacle(number, has_base=True)


@every(lambda kind: kind.keeps_identical and kind.num_experts[0] == 1)
def test_one_expert_returns_it(kind, shape):
    slot = make_slot(shape, num_experts=1)
    for merged in all_merges(kind, slot):
        torch.testing.assert_close(merged, slot.experts[0], rtol=1e-6, atol=1e-6)


def test_the_order_of_experts_does_not_matter(kind, shape):
    slot = make_slot(shape, num_experts=size_for(kind))
    order = [2, 0, 1] if size_for(kind) == 3 else [1, 0]
    for merged, reordered in zip(all_merges(kind, slot), all_merges(kind, reorder(slot, order)), strict=True):
        torch.testing.assert_close(merged, reordered, rtol=1e-5, atol=1e-5)


def test_float32_gives_finite_float32_of_the_same_shape(kind, shape):
    for merged in all_merges(kind, make_slot(shape, num_experts=size_for(kind))):
        assert merged.dtype == torch.float32 and merged.shape == shape and merged.isfinite().all()


def test_the_inputs_are_not_modified(kind, shape):
    slot = make_slot(shape, num_experts=size_for(kind))
    before = [tensor.clone() for tensor in tensors_of(slot)]
    all_merges(kind, slot)
    assert all(torch.equal(old, new) for old, new in zip(before, tensors_of(slot), strict=True))


def test_the_same_input_gives_the_same_bits(kind, shape):
    first, second = (all_merges(kind, make_slot(shape, num_experts=size_for(kind))) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@every(lambda kind: kind.requires or kind.name == "simple_mean")
def test_a_parameter_without_statistics_gets_the_mean_and_the_reason(kind, shape):
    bare = {"equations": None, "token_frequencies": None, "fishers": None, "fisher_norms": ()}
    slot = dataclasses.replace(make_slot(shape), equations_missing="nothing was measured", **bare)
    merged, treatment = kind().merge_parameter(slot)
    torch.testing.assert_close(merged, slot.mean)
    assert treatment.path == "mean"
    assert bool(treatment.reason) == bool(kind.requires)  # the simple mean is asked for, not a way out
