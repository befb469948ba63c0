"""A recipe as a state of the controls, where they can say all of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fusion_ui.errors import RecipeError
from fusion_ui.merging.layer_scaling import LayerScaling
from fusion_ui.merging.pinning import PORTABLE_BASE, portable_calibration, slugify
from fusion_ui.merging.recipe import Calibration, Expert, MergeRecipe, StatisticChoice, parse_recipe
from fusion_ui.merging.rules import BASE, Rule
from fusion_ui.methods import find_method
from fusion_ui.parameters import default_values
from fusion_ui.projects.project import FROM_FILE, Project, ProjectExpert
from fusion_ui.ui.request import FuseRequest, PageRule, default_calibration

MAX_BYTES = 1 << 20
ELSEWHERE = "Merge it with the command line: fusion-ui merge recipe.json --out DIR."


def read_uploaded(path: Path) -> MergeRecipe:
    """A recipe that a visitor uploads.

    Raises:
        RecipeError, ParameterError: it is none.
    """
    if path.stat().st_size > MAX_BYTES:
        raise RecipeError(f"{path.name} is too large to be a recipe. Choose a recipe.json.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise RecipeError(f"{path.name} is not JSON. Choose a recipe.json.") from None
    return parse_recipe(value, path.name)


def apply_recipe(recipe: MergeRecipe, project: Project, request: FuseRequest) -> FuseRequest:
    """The controls' state that merges as the recipe says; other methods that are compared stay.

    Raises:
        RecipeError: an expert or its calibration text is not in the project, or there is no control for something, or
            the project's own state, which no recipe changes, is another than the recipe's.
    """
    _check_controls(recipe, project)
    found = {entry.name: _find_expert(entry, project) for entry in recipe.experts}
    if missing := [_describe(entry) for entry in recipe.experts if found[entry.name] is None]:
        raise RecipeError(f"This project does not have {', '.join(missing)}. Add what is missing under Models first.")
    experts = [(entry, expert) for entry in recipe.experts if (expert := found[entry.name])]
    _check_project(recipe, experts, project)
    method, calibration = find_method(recipe.method), dict(request.calibration)
    if method.needs_calibration():
        calibration |= {expert.name: _find_calibration(entry, expert, project) for entry, expert in experts}
    names = {entry.name: expert.name for entry, expert in experts}
    scaling = {} if recipe.layer_scaling is None else default_values(LayerScaling) | recipe.layer_scaling
    parameters = dict(request.parameters)
    parameters[method.name] = tuple((default_values(method) | recipe.parameters).items())
    return replace(
        request,
        experts=tuple(e.name for e in project.experts if e in found.values()),
        calibration=tuple(calibration.items()),
        num_examples=recipe.statistics.num_examples,
        methods=(method.name, *(name for name in request.methods if name != method.name)),
        parameters=tuple(parameters.items()),
        weights=tuple((expert.name, entry.weight) for entry, expert in experts if entry.weight != 1),
        rules=tuple(_page_rule(rule, names) for rule in recipe.rules),
        layer_scaling=tuple(scaling.items()),
    )


def _page_rule(rule: Rule, names: dict[str, str]) -> PageRule:
    """A rule as the page's table has it, where experts have the project's names."""
    merge = names.get(rule.merge, rule.merge) if rule.is_kept else ""
    return PageRule(rule.parameters, merge, rule.overrides.get("alpha"))


def _check_controls(recipe: MergeRecipe, project: Project) -> None:
    """Raise `RecipeError` where the page has no control for what a recipe asks."""
    usual = StatisticChoice(num_examples=recipe.statistics.num_examples)
    reasons = {
        "rules for other parameters than alpha": any({*rule.overrides} - {"alpha"} for rule in recipe.rules),
        "a seed, or padding that counts": recipe.statistics != usual,
        "other heads than this project": recipe.heads is not None and recipe.heads != project.heads,
    }
    if found := [reason for reason, is_asked in reasons.items() if is_asked]:
        raise RecipeError(f"The recipe asks for {' and '.join(found)}, for which the page has no control. {ELSEWHERE}")


def _check_project(recipe: MergeRecipe, experts: Sequence[tuple[Expert, ProjectExpert]], project: Project) -> None:
    """Raise `RecipeError` where a recipe would be merged otherwise than it says, since the page takes its project's own
    base model, labels and order of experts.
    """
    kept = [expert.name for _, expert in experts]
    reasons = {
        "another base model": _needs_base(recipe) and not _is_base(recipe.base, project),
        "experts in another order": kept != [expert.name for expert in project.experts if expert.name in kept],
    }
    for entry, expert in experts:
        folded = entry.base or recipe.base
        reasons[f"other names for the labels of {expert.name}"] = _names(entry.labels) != _names(dict(expert.labels))
        reasons[f"another base model under the adapter {expert.name}"] = (
            expert.base is not None and folded is not None and not _is_same_model(folded, expert.base)
        )
    if found := [reason for reason, is_other in reasons.items() if is_other]:
        raise RecipeError(f"The recipe has {' and '.join(found)} than this project. {ELSEWHERE}")


def _needs_base(recipe: MergeRecipe) -> bool:
    """True if the merged weights depend on the recipe's base model, whatever its experts were folded into."""
    has_rule = any(rule.merge == BASE for rule in recipe.rules)
    return find_method(recipe.method).needs_base or recipe.layer_scaling is not None or has_rule


def _is_base(asked: str | None, project: Project) -> bool:
    """True if a recipe's base is the project's: by repository and commit, by path, or by the name beside a recipe."""
    if asked is None or project.base is None:
        return asked is None and project.base is None
    if project.base_source:
        return asked == str(project.base) or _is_same_model(asked, project.base_source)
    return asked in (str(project.base), PORTABLE_BASE)


def _is_same_model(asked: str, known: str) -> bool:
    """True if ``owner/name`` or ``owner/name@commit`` can be the known ``owner/name@commit``."""
    return asked in (known, known.partition("@")[0])


def _names(labels: dict[str, str]) -> dict[str, str]:
    return {label: name for label, name in labels.items() if label != name}


def _find_expert(entry: Expert, project: Project) -> ProjectExpert | None:
    """The project's expert that is the recipe's: by repository and commit, by path, or by the name beside a recipe."""
    repository, _, pinned = entry.model.partition("@")
    commit = entry.revision or pinned or None
    for expert in project.experts:
        is_on_hub = expert.revision is not None and repository == expert.source
        if is_on_hub and commit in (None, expert.revision):
            return expert
        if str(expert.model) == entry.model:
            return expert
        if expert.revision is None and entry.model == f"models/{slugify(expert.name)}":
            return expert
    return None


def _find_calibration(entry: Expert, expert: ProjectExpert, project: Project) -> str:
    """The domain that the recipe calibrates an expert on."""
    asked = entry.calibration
    if asked is None:
        return default_calibration(project, expert)
    slug = slugify(expert.name)
    if expert.statistics and asked.data is None:
        own = Calibration(statistics=str(expert.statistics))
        if asked.statistics in (own.statistics, portable_calibration(own, slug).statistics):
            return FROM_FILE
    for domain in project.domains:
        if asked.data == str(domain.calibrate):
            return domain.name
        is_own = domain.name == expert.domain
        if is_own and asked.data == portable_calibration(Calibration(data=str(domain.calibrate)), slug).data:
            return domain.name
    file = Path(str(asked.data or asked.statistics)).name
    raise RecipeError(
        f"The recipe calibrates {entry.name} on {file}, which is no domain of this project. "
        "Add it under Data, or remove 'calibration' from the recipe to use the expert's own."
    )


def _describe(entry: Expert) -> str:
    """An expert of a recipe that is not in the project."""
    commit = f" at {entry.revision[:8]}" if entry.revision else ""
    return f"{entry.name} ({Path(entry.model).name if Path(entry.model).is_absolute() else entry.model}{commit})"
