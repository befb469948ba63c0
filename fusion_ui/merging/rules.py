"""Rules that single parameters out of a merge: these keep the mean, those another alpha, the head stays one expert's.

The first rule that matches a parameter decides, as in any list read from the top; "as asked" without overrides makes
an exception to the rules below it. What no rule matches is merged as the recipe asks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fusion_ui.errors import RecipeError
from fusion_ui.merging.groups import group_of, groups_in, matches
from fusion_ui.methods import make_method
from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.solving.treatment import Treatment

AS_ASKED, MEAN, BASE = "as asked", "mean", "base"


class Rule(BaseModel):
    """What becomes of some parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    parameters: str = Field(min_length=1, max_length=200)
    """A group of `fusion_ui.merging.groups` ("attention", "layers 0-2") or a glob over parameter names."""
    merge: str = Field(default=AS_ASKED, max_length=80)
    """"as asked", "mean", "base", or the name of an expert whose own parameter is kept."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Values of the method's parameters that hold here: {"alpha": 0.5}."""

    @property
    def is_kept(self) -> bool:
        """True if the parameters are not merged by the method."""
        return self.merge != AS_ASKED

    @property
    def effect(self) -> str:
        """For people: "kept the mean", "alpha = 0.5"."""
        if self.is_kept:
            return f"kept the {self.merge}" if self.merge in (MEAN, BASE) else f"kept {self.merge}"
        return ", ".join(f"{name} = {value}" for name, value in self.overrides.items()) or AS_ASKED

    @property
    def reason(self) -> str:
        """What the merge report says of a parameter that the rule decided."""
        return f"{self.effect}: rule {self.parameters!r}"

    def adapt(self, method: MergeMethod) -> MergeMethod:
        """The method with this rule's overrides."""
        return replace(method, **self.overrides) if self.overrides else method

    def note(self, merged: Merged) -> Merged:
        """What the adapted method made, its treatment naming the rule."""
        tensor, treatment = merged
        if not self.overrides or treatment.reason:  # a reason says that the method, and so its parameters, had no part
            return merged
        return tensor, replace(treatment, reason=self.reason)


NO_RULE = Rule(parameters="*")


@dataclass(frozen=True)
class ParameterRules:
    """The rules of a recipe, in order, and the names of its experts, in order."""

    rules: tuple[Rule, ...] = ()
    experts: tuple[str, ...] = ()

    def find(self, name: str) -> Rule:
        """The first rule that matches a parameter, or one that changes nothing."""
        return next((rule for rule in self.rules if matches(rule.parameters, name)), NO_RULE)

    def keep(self, rule: Rule, slot: ParameterSlot) -> Merged:
        """What a rule keeps of a slot in the place of a merge. The base model must be there where it says so."""
        if rule.merge == MEAN:
            return slot.mean, Treatment("mean", reason=rule.reason)
        if rule.merge == BASE:
            assert slot.base is not None  # check_rules asks for it
            return slot.base, Treatment("base", reason=rule.reason)
        # A copy: as a view it would hold on to the stack of every expert.
        return slot.experts[self.experts.index(rule.merge)].clone(), Treatment("expert", reason=rule.reason)

    @property
    def identity(self) -> list[list[Any]]:
        """What of the rules decides the merge and its report, as JSON values."""
        position = {expert: i for i, expert in enumerate(self.experts)}
        return [[rule.parameters, rule.merge, position.get(rule.merge), rule.overrides] for rule in self.rules]


NO_RULES = ParameterRules()


def check_rules(
    rules: Sequence[Rule], experts: Collection[str], has_base: bool, method: str, parameters: dict[str, Any]
) -> None:
    """Check what rules ask for, before anything is found.

    Raises:
        RecipeError: a rule names an expert that is not there, needs the base, or contradicts itself.
        ParameterError: an override is not a parameter of the method, or its value is not accepted.
    """
    for rule in rules:
        where = f"The rule for {rule.parameters!r}"
        if rule.is_kept and rule.merge not in (MEAN, BASE, *experts):
            known = ", ".join(repr(name) for name in (AS_ASKED, MEAN, BASE, *experts))
            raise RecipeError(f"{where} must say one of {known}. Got {rule.merge!r} instead.")
        if rule.merge in (MEAN, BASE) and rule.merge in experts:
            raise RecipeError(
                f"{where} says {rule.merge!r}, which is also the name of an expert. Give the expert another name."
            )
        if rule.merge == BASE and not has_base:
            raise RecipeError(
                f"{where} keeps the base model, but the recipe names none. Name the model that the experts were "
                "fine-tuned from as 'base'."
            )
        if rule.is_kept and rule.overrides:
            raise RecipeError(
                f"{where} says {rule.merge!r}, where the method has no part, and sets its parameters. "
                "Leave out 'overrides' or 'merge'."
            )
        make_method(method, parameters | rule.overrides)


def check_matches(rules: Sequence[Rule], names: Collection[str]) -> None:
    """Raise `RecipeError` where a rule matches none of the parameters that are merged."""
    for rule in rules:
        if not any(matches(rule.parameters, name) for name in names):
            raise RecipeError(
                f"The rule for {rule.parameters!r} matches no parameter that is merged. This model has the groups "
                f"{', '.join(groups_in(names))}. Anything else is a pattern of names, such as '*.query.weight'."
            )


def check_pairs(rules: Sequence[Rule], names: Collection[str]) -> None:
    """Raise `RecipeError` where a rule holds for a layer's bias and not for its weight, which are solved together."""
    listed = ParameterRules(tuple(rules))
    for bias in sorted(name for name in names if name.endswith(".bias")):
        weight = bias.removesuffix("bias") + "weight"
        if group_of(weight) != "norms" and weight in names and listed.find(weight) != listed.find(bias):
            rule = next(r for r in (listed.find(bias), listed.find(weight)) if r is not NO_RULE)
            raise RecipeError(
                f"The rule for {rule.parameters!r} tells {bias} from {weight}, and with_bias solves the two together. "
                "Leave out the rule, or with_bias."
            )
