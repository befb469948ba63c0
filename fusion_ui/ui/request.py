"""What one visitor's controls say, as one immutable value, and the recipes it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fusion_ui.errors import RecipeError
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.methods import METHODS, find_method
from fusion_ui.parameters import default_values
from fusion_ui.projects.project import FROM_FILE, Project, ProjectDomain, ProjectExpert

REFERENCES = {"experts": "Experts themselves", "ensemble": "Ensemble", "multitask": "Multi-task model"}
DEFAULT_METHODS = ("regmean", "simple_mean")
MAX_SENTENCES = 400


@dataclass(frozen=True)
class FuseRequest:
    """The state of every control.

    Attributes:
        experts: names of the experts in the merge.
        calibration: expert name -> domain whose calibration split its statistics are measured on.
        num_examples: sentences for statistics, at most.
        methods: names of the methods to compare.
        references: keys of `REFERENCES` to show.
        parameters: method name -> its parameters.
        is_from_zero: bars from zero instead of points on a cut axis.
    """

    experts: tuple[str, ...]
    calibration: tuple[tuple[str, str], ...]
    num_examples: int
    methods: tuple[str, ...]
    references: tuple[str, ...]
    parameters: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]
    is_from_zero: bool = False

    def recipe(self, project: Project, method: str) -> MergeRecipe:
        """The merge that these controls ask of one method.

        Raises:
            RecipeError, ParameterError: a control holds something that is not allowed.
        """
        domains = {domain.name: domain for domain in project.domains}
        experts = {expert.name: expert for expert in project.experts}
        calibration = dict(self.calibration)
        if not self.experts:
            raise RecipeError("No expert is ticked. Tick at least one under Models.")
        for name in self.experts:
            if name not in experts:
                raise RecipeError(f"There is no expert {str(name)[:40]!r} in this project.")
            known = {*domains, FROM_FILE} if experts[name].statistics else {*domains}
            if not isinstance(calibration.get(name), str) or calibration[name] not in known:
                raise RecipeError(
                    f"There is no calibration data {str(calibration.get(name))[:40]!r} for {name} in this project."
                )
        if not isinstance(self.num_examples, int) or not 1 <= self.num_examples <= MAX_SENTENCES:
            raise RecipeError(f"The number of sentences must be a whole number from 1 to {MAX_SENTENCES}.")
        return parse_recipe(
            {
                "method": method,
                "parameters": dict(dict(self.parameters).get(method, ())),
                "experts": [
                    {
                        "name": name,
                        "model": str(experts[name].model),
                        "calibration": _calibration(experts[name], domains.get(calibration[name])),
                    }
                    for name in self.experts
                ],
                "statistics": {"num_examples": self.num_examples},
                "heads": project.heads,
                # Only where it counts: numbers of other methods stay known when a base is named.
                "base": str(project.base) if project.base and find_method(method).needs_base else None,
            },
            "These settings",
        )

    def check(self, project: Project) -> None:
        """Raise a `FusionError` unless every control holds something allowed."""
        for method in self.methods or ("simple_mean",):
            self.recipe(project, find_method(method).name)
        for reference in self.references:
            if reference not in REFERENCES:
                raise RecipeError(f"There is no reference {str(reference)[:40]!r}.")


def _calibration(expert: ProjectExpert, domain: ProjectDomain | None) -> dict[str, str]:
    return {"data": str(domain.calibrate)} if domain else {"statistics": str(expert.statistics)}


def default_calibration(project: Project, expert: ProjectExpert) -> str:
    """What an expert is calibrated on at first: its file, its own domain, or any."""
    if expert.statistics:
        return FROM_FILE
    return expert.domain or next((domain.name for domain in project.domains), "")


def default_request(project: Project) -> FuseRequest:
    """What the page shows first."""
    parameters: Mapping[str, tuple] = {m.name: tuple(default_values(m).items()) for m in METHODS}
    return FuseRequest(
        experts=tuple(expert.name for expert in project.experts),
        calibration=tuple((expert.name, default_calibration(project, expert)) for expert in project.experts),
        num_examples=256,
        methods=DEFAULT_METHODS,
        references=tuple(REFERENCES),
        parameters=tuple(parameters.items()),
    )
