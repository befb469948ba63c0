"""What a merge is held against: its experts by themselves, and all of them together."""

from __future__ import annotations

from collections.abc import Sequence

from fusion_ui.evaluation.candidates import SingleModel, checkpoint_candidate
from fusion_ui.evaluation.combined import Ensemble
from fusion_ui.merging.plan import MergePlan


def expert_candidates(plan: MergePlan) -> dict[str, SingleModel]:
    """Name -> the plan's expert by itself, with its labels under the names that the recipe gives them."""
    return {
        entry.name: checkpoint_candidate(
            f"expert {entry.name}", f"Expert {entry.name}", model, skeleton=plan.experts[0], labels=entry.labels
        )
        for entry, model in zip(plan.recipe.experts, plan.experts, strict=True)
    }


def ensemble_of(members: Sequence[SingleModel]) -> Ensemble:
    """The mean of their logits."""
    key = "ensemble " + " ".join(member.key for member in members)
    return Ensemble("ensemble", "Ensemble", key, members[0].color, True, tuple(members))
