"""Where the models of a project came from, for cards and recipes: a project's own plans know only where they lie."""

from __future__ import annotations

from dataclasses import replace

from fusion_ui.merging.plan import MergePlan
from fusion_ui.projects.project import Project


def name_origins(plan: MergePlan, project: Project) -> MergePlan:
    """The same plan, in which models that came from the hub are called by repository and commit."""
    origins = {expert.name: expert for expert in project.experts}
    experts = tuple(
        replace(model, source=origin.source or model.source, revision=origin.revision, base=origin.base)
        for model in plan.experts
        for origin in [origins[model.name]]
    )
    base = plan.base
    if base is not None and project.base_source:
        source, _, commit = project.base_source.partition("@")
        base = replace(base, source=source, revision=commit)
    return replace(plan, experts=experts, base=base)
