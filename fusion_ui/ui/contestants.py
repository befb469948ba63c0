"""Who can be held against whom: every model of the page, and each domain's own expert taken together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fusion_ui.errors import RecipeError
from fusion_ui.evaluation.candidates import Candidate, Evaluation
from fusion_ui.methods import find_method, make_method
from fusion_ui.projects.project import Project
from fusion_ui.ui.comparison import compare, has_ensemble
from fusion_ui.ui.request import DEFAULT_REFERENCES, FuseRequest, Setting
from fusion_ui.workspace import Workspace

OWN_EXPERT = "own expert"
OWN_TITLE = "Own expert of each domain"

Choices = Sequence[tuple[str, str]]
"""Title and value of each."""


@dataclass(frozen=True)
class Contestant:
    """A model, or several of which each answers its own domains.

    Attributes:
        answering: domain name -> who answers it; a domain that nobody answers is missing.
    """

    title: str
    answering: Mapping[str, Candidate]


def contestant_choices(
    project: Project, request: FuseRequest, current: Sequence[str | None] = (None,) * 4
) -> list[dict[str, Any]]:
    """Choices and value of four lists: a model, another to hold it against, one whose confusion is shown, a domain.

    Args:
        current: the values that the lists have now; each stays where it can still be chosen.
    """
    models: list[tuple[str, str]] = [(_setting_title(setting), setting.name) for setting in request.settings]
    models += [(f"Expert {expert.name}", f"expert {expert.name}") for expert in project.experts]
    models += [("Ensemble", "ensemble")] if len(request.experts) > 1 and has_ensemble(project) else []
    models += [("Multi-task model", "multi-task")] if project.multitask else []
    own = [(OWN_TITLE, OWN_EXPERT)] if any(expert.domain for expert in project.experts) else []
    others = [*own, *models] if own else [*models[1:], *models[:1]]
    lists = (models, others, [*models, *own], [(domain.title, domain.name) for domain in project.domains])
    return [_keep(choices, value) for choices, value in zip(lists, current, strict=True)]


def find_contestants(
    workspace: Workspace, project: Project, request: FuseRequest, evaluation: Evaluation, names: Sequence[Any]
) -> list[Contestant]:
    """The models of these names, whether or not the page shows their numbers.

    Raises:
        RecipeError: a name is not one of `contestant_choices`.
    """
    comparison = compare(workspace, project, replace(request, references=DEFAULT_REFERENCES), evaluation)
    candidates = {candidate.name: candidate for candidate in comparison.candidates}
    domains = [domain.name for domain in project.domains]
    own = {e.domain: candidates[f"expert {e.name}"] for e in project.experts if e.domain in domains}
    found = []
    for name in names:
        if name == OWN_EXPERT and own:
            found.append(Contestant(OWN_EXPERT, own))
        elif isinstance(name, str) and name in candidates:
            found.append(Contestant(candidates[name].title, dict.fromkeys(domains, candidates[name])))
        else:
            raise RecipeError(f"There is no model {str(name)[:80]!r} under these settings any more. Choose another.")
    return found


def _keep(choices: Choices, value: str | None) -> dict[str, Any]:
    """Properties of a list: its value while that is among the choices, else the first."""
    values = [known for _, known in choices]
    return {"choices": choices, "value": value if value in values else next(iter(values), None)}


def _setting_title(setting: Setting) -> str:
    method = find_method(setting.method)
    if setting.name == setting.method:  # whose parameters still move
        return f"{method.title}, as it is set"
    return f"{make_method(setting.method, dict(setting.parameters)).describe()}, pinned"
