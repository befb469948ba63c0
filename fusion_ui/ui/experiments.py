"""What happens in the tabs "Pairs" and "Growth": merges of some of the models, drawn one by one as they are scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gradio as gr

from fusion_ui.errors import RecipeError, StoppedError
from fusion_ui.evaluation.experiments import Experiment
from fusion_ui.evaluation.growth import run_growth
from fusion_ui.evaluation.pairs import run_pairs
from fusion_ui.evaluation.references import expert_candidates
from fusion_ui.merging.recipe import MergeRecipe
from fusion_ui.merging.subsets import Names, pair_recipes, plain_recipe, prefix_recipes
from fusion_ui.plots.growth import growth_figure
from fusion_ui.plots.pairs import PLACES, QUANTITIES, pairs_figure
from fusion_ui.progress import Progress
from fusion_ui.projects.project import Project
from fusion_ui.results.experiments import (
    PAIR_HEADERS,
    growth_headers,
    growth_row,
    growth_table,
    pair_row,
    pair_table,
)
from fusion_ui.ui.long_work import LongWork
from fusion_ui.ui.order_list import in_order, names_in
from fusion_ui.ui.panels.experiments import GROWTH_HINT, PAIRS_HINT, expert_titles
from fusion_ui.ui.render import domain_titles, render_status
from fusion_ui.ui.session import Session

Run = Callable[[Experiment, Progress], Iterator[Any]]


@dataclass
class Look:
    """What a tab shows of one visitor's experiment.

    Attributes:
        experts: in the order of the figure.
        num_results: how many there will be.
        metric: what their scores are of, as a request has it.
        found: results so far.
        view: what the figure shows of them.
        progress: of the work on more of them, once it has begun.
    """

    project: Project
    experts: Names
    num_results: int
    metric: str
    view: tuple[str, ...] = ()
    found: list[Any] = field(default_factory=list)
    progress: Progress | None = None


class Experimenting(LongWork):
    """Handlers of the two tabs. A visitor's results stay in the session until the next press or another project."""

    def run_pairs(self, session_id: str | None, method: str, quantity: str, place: str) -> Iterator[list[Any]]:
        """Status, heat map and table, after every pair."""
        session, view = self.find_session(session_id), _check_view(quantity, place)
        recipe = session.request.recipe(session.project, str(method))
        recipes = pair_recipes(recipe)
        names = tuple(expert.name for expert in recipe.experts)
        look = session.looks["pairs"] = Look(session.project, names, len(recipes), session.request.metric, view)
        for status in self._stream(session, look, recipe, recipes, run_pairs, "pairs"):
            yield [status, *draw_pairs(look)]

    def show_pairs(self, session_id: str | None, quantity: str, place: str) -> list[Any]:
        """Heat map and table of what is known, seen in another way; what is still to come is seen that way too."""
        look, view = self.handlers.sessions.get(session_id).looks.get("pairs"), _check_view(quantity, place)
        if look is None:
            return [gr.skip(), gr.skip()]
        look.view = view
        return draw_pairs(look)

    def run_growth(self, session_id: str | None, method: str, order: Any, has_ensemble: bool) -> Iterator[list[Any]]:
        """Status, figure and table, after every expert that is added."""
        session = self.find_session(session_id)
        recipe = session.request.recipe(session.project, str(method))
        recipes = prefix_recipes(recipe, names_in(order))
        names = max(recipes, key=len)
        look = session.looks["growth"] = Look(session.project, names, len(recipes), session.request.metric)
        titles, domains = expert_titles(look.project), domain_titles(look.project)
        headers = growth_headers(domains.values(), bool(has_ensemble))
        run = partial(run_growth, has_ensemble=bool(has_ensemble))
        for status in self._stream(session, look, recipe, recipes, run, "merges"):
            figure = growth_figure(growth_table(look.found), domains, [titles[name] for name in names])
            yield [status, figure, {"headers": headers, "rows": [growth_row(point, titles) for point in look.found]}]

    def stop(self, session_id: str | None, tab: str) -> None:
        """Stop the tab's work, and nothing else."""
        look = self.handlers.sessions.get(session_id).looks.get(tab)
        if look is not None and look.progress is not None:
            look.progress.stop()

    def order_of(self, session_id: str | None, included: Sequence[Any], order: Any) -> dict[str, Any]:
        """The list of experts that take part, in the order it had, and what is new at its end.

        It stays as it is while the page is still being drawn: a box that is not there yet arrives as None.
        """
        project = self.handlers.sessions.get(session_id).project
        boxes = included[: len(project.experts)]  # the page has a row for each expert that there is room for
        if None in boxes:
            return gr.skip()
        names = [e.name for e, is_included in zip(project.experts, boxes, strict=True) if is_included]
        return _put_in_order(project, names, order)

    def follow_project(self, session_id: str | None, order: Any) -> list[Any]:
        """The order, then each tab's status, figure and table: empty unless they belong to the project shown."""
        session = self.handlers.sessions.get(session_id)
        project, names = session.project, session.request.experts
        titles, domains = expert_titles(project), domain_titles(project)
        empty = {
            "pairs": [render_status(PAIRS_HINT), pairs_figure(pair_table([], {}), titles, "better", "own"), {}],
            "growth": [render_status(GROWTH_HINT), growth_figure(growth_table([]), domains, list(titles.values())), {}],
        }
        drawn = [
            value for tab, values in empty.items() for value in (_stay(values) if tab in session.looks else values)
        ]
        return [_put_in_order(project, names, order), *drawn]

    def _stream(
        self,
        session: Session,
        look: Look,
        recipe: MergeRecipe,
        recipes: Mapping[Names, MergeRecipe],
        run: Run,
        what: str,
    ) -> Iterator[dict[str, Any]]:
        """Status lines while results are added to `look`; ends when the visitor changes the project."""

        def work(progress: Progress) -> None:
            look.progress = progress
            for result in run(self._make_experiment(look, recipe, recipes), progress):
                look.found.append(result)

        def count() -> str:
            return f"{len(look.found)} of {look.num_results} {what}"

        try:
            for status, _ in self.follow(session, self.rehearsed(session, recipe.method, work)):
                if session.project is not look.project:
                    return  # which stops the work
                if status:
                    yield status | {"detail": count()}
        except StoppedError:
            yield render_status(f"Stopped. {count()} are known.")
        else:
            sizes = [len(encoded) for encoded in self.handlers.evaluation(look.project, "report").domains]
            scored = f"each scored on {sum(sizes):,} sentences of the report split"
            yield render_status(f"{recipe.make_method().describe()}: {look.num_results} {what}, {scored}.")

    def _make_experiment(self, look: Look, recipe: MergeRecipe, recipes: Mapping[Names, MergeRecipe]) -> Experiment:
        project = look.project
        domain_of = {expert.name: expert.domain for expert in project.experts}
        owners = {domain: name for name, domain in domain_of.items() if domain}
        plans = {names: self.workspace.plan(part) for names, part in recipes.items()}
        merges = {names: self.workspace.candidate(plan, owners, is_passing=True) for names, plan in plans.items()}
        experts = expert_candidates(self.workspace.plan(plain_recipe(recipe)))
        return Experiment(merges, experts, domain_of, self.handlers.evaluation(project, "report", look.metric))


def _put_in_order(project: Project, names: Sequence[str], order: Any) -> dict[str, Any]:
    before = names_in(order)
    kept = [name for name in before if name in names] if isinstance(before, list) else []
    return in_order(list(dict.fromkeys([*kept, *names])), expert_titles(project))


def _stay(values: list[Any]) -> list[Any]:
    return [gr.skip() for _ in values]


def draw_pairs(look: Look) -> list[dict[str, Any]]:
    """Heat map and table of what is known."""
    titles, (quantity, place) = expert_titles(look.project), look.view
    frame = pair_table(look.found, domain_titles(look.project))
    figure = pairs_figure(frame, {name: titles[name] for name in look.experts}, quantity, place)
    return [figure, {"headers": PAIR_HEADERS, "rows": [pair_row(found, place, titles) for found in look.found]}]


def _check_view(quantity: str, place: str) -> tuple[str, str]:
    if quantity not in [*QUANTITIES] or place not in [*PLACES]:  # lists, since anything may be asked for
        raise RecipeError(
            f"Pairs can be shown as {', '.join(QUANTITIES)} on {', '.join(PLACES)} domains. "
            f"Got {str(quantity)[:40]!r} on {str(place)[:40]!r} instead."
        )
    return quantity, place
