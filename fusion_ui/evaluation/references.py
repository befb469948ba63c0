"""What a merge is held against: its experts by themselves."""

from __future__ import annotations

from fusion_ui.evaluation.candidates import SingleModel, checkpoint_candidate
from fusion_ui.merging.plan import MergePlan


def expert_candidates(plan: MergePlan) -> dict[str, SingleModel]:
    """Name -> the plan's expert by itself, with its labels under the names that the recipe gives them."""
    return {
        entry.name: checkpoint_candidate(
            f"expert {entry.name}", f"Expert {entry.name}", model, skeleton=plan.experts[0], labels=entry.labels
        )
        for entry, model in zip(plan.recipe.experts, plan.experts, strict=True)
    }
