"""The curve over a parameter: in which order it fills, what it is compared with, and what ends it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tiny_project import write_project

from fusion_ui.errors import RecipeError, StoppedError
from fusion_ui.evaluation.candidates import SingleModel
from fusion_ui.evaluation.comparison import CandidateScores
from fusion_ui.evaluation.scores import DomainScore, Role, mean_interval
from fusion_ui.methods import METHODS
from fusion_ui.parameters import Range, declared_parameters
from fusion_ui.progress import Progress
from fusion_ui.results.curve import MEAN, curve_table
from fusion_ui.settings import Settings
from fusion_ui.tasks.metrics import wilson_interval
from fusion_ui.ui.curve_choice import CurveChoice, coarse_to_fine, curve_choices
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.request import FuseRequest
from fusion_ui.ui.searching import Searching
from fusion_ui.workspace import Workspace

VISITOR = "visitor"


def scores(num_correct: dict[str, int], count: int = 40, total: int = 40) -> CandidateScores:
    found = [
        DomainScore(d, "select", Role.IN_DOMAIN, n / count, n, count, total, *wilson_interval(n, count))
        for d, n in num_correct.items()
    ]
    return CandidateScores(SingleModel("m", "M", "key", "#000000", False, ("a",), lambda _: None), tuple(found))


def test_values_go_from_coarse_to_fine_and_are_all_there():
    for choice in curve_choices([method.name for method in METHODS]):
        values = choice.values
        assert len(set(values)) == len(values) <= 21 and set(values[:2]) == {min(values), max(values)}
        assert min(values) == choice.declared.minimum and max(values) == choice.declared.maximum
        gaps = [min(abs(v - w) for w in values[:i]) for i, v in enumerate(values) if i]
        assert all(later <= earlier + 1e-9 for earlier, later in pairwise(gaps)), "fine before coarse"
        steps = [(value - choice.declared.minimum) / choice.declared.step for value in values]
        assert steps == pytest.approx([round(step) for step in steps]), "a value that the control cannot take"
    assert len(CurveChoice().values) == 21 and 0.9 in CurveChoice().values
    assert coarse_to_fine([0.0, 1.0, 2.0, 3.0, 4.0]) == (0, 4, 2, 1, 3)


def test_every_number_with_a_symbol_has_a_curve():
    found = {(choice.method, choice.parameter) for choice in curve_choices([method.name for method in METHODS])}
    assert ("regmean", "alpha") in found and ("ties", "density") in found and ("fisher", "normalise") not in found
    numbers = {(m.name, n) for m in METHODS for n, p in declared_parameters(m).items() if isinstance(p, Range)}
    assert found == {(m, n) for m, n in numbers if CurveChoice(m, n).declared.symbol}
    assert CurveChoice().title == "RegMean α"


def test_the_table_has_a_row_a_domain_and_one_for_the_mean():
    frame = curve_table({0.5: scores({"a": 30, "b": 20}), 0.0: scores({"a": 10, "b": 5}, count=20)})
    assert list(frame["parameter"]) == [0, 0, 0, 0.5, 0.5, 0.5] and list(frame["domain"]) == ["a", "b", MEAN] * 2
    mean = frame[(frame["domain"] == MEAN) & (frame["parameter"] == 0.5)].iloc[0]
    assert mean["value"] == pytest.approx(0.625) and mean["is_complete"] and mean["num_examples"] == 80
    assert (mean["low"], mean["high"]) == pytest.approx(mean_interval(scores({"a": 30, "b": 20}).scores))
    assert not frame.iloc[0]["is_complete"]


def test_relative_scores_are_shares_of_the_domains_own_expert():
    row = scores({"a": 30, "b": 20, "c": 10}).relative_to({"a": 0.9, "b": 0.5})
    assert [score.domain for score in row.scores] == ["a", "b"], "a domain without an expert has no share"
    assert [score.value for score in row.scores] == pytest.approx([0.75 / 0.9, 1.0])
    low, high = wilson_interval(30, 40)
    assert (row.scores[0].low, row.scores[0].high) == pytest.approx((low / 0.9, high / 0.9))
    assert row.mean == pytest.approx((0.75 / 0.9 + 1) / 2)
    assert not scores({"a": 30}).relative_to({"a": -0.2}).scores, "of a correlation below 0 there is no share"


@pytest.fixture
def handlers(settings: Settings, tmp_path: Path) -> Handlers:
    project, workspace = write_project(tmp_path), Workspace(settings)
    found = Handlers(workspace, project)
    session = found.sessions.get(VISITOR)
    session.post(replace(session.request, num_examples=40, references=("experts", "ensemble")))
    workspace.measure(workspace.plan(session.request.recipe(project, "regmean")))
    return found


def set_alpha(request: FuseRequest, alpha: float) -> FuseRequest:
    changed = {method: dict(values) for method, values in request.parameters}
    changed["regmean"]["alpha"] = alpha
    return replace(request, parameters=tuple((method, tuple(values.items())) for method, values in changed.items()))


def fill(handlers: Handlers) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [step for step in handlers.fill_curve(VISITOR) if isinstance(step[0], dict) and "data" in step[0]]


def test_the_whole_curve_fills_and_then_what_it_is_compared_with(handlers: Handlers, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fusion_ui.ui.curve.REDRAW_SECONDS", 0)  # every step is seen
    session, workspace, seen = handlers.sessions.get(VISITOR), handlers.workspace, []
    for figure, _ in handlers.fill_curve(VISITOR):
        done = sum(row.is_complete for row in session.curve.values())
        seen.append((len(session.curve), done, len(session.curve_levels)))
        if (
            isinstance(figure, dict)
            and "data" in figure
            and sum(n.startswith("expert") for n in session.curve_levels) < 3
        ):
            assert "own experts" not in {trace["name"] for trace in figure["data"]}, "the mean of some experts alone"
    assert seen[-1] == (21, 21, 5), "simple mean, ensemble and three experts"
    assert seen == sorted(seen), "levels before the curve was done"
    assert (21, 0, 0) in seen, "no value answers everything before every value answered a little"
    figure, status = fill(handlers)[-1]
    titles = {trace["name"] for trace in figure["data"]}
    assert {"Simple mean", "Ensemble", "own experts", "mean", "Domain 0"} <= titles and "Expert d0" not in titles
    assert "Best on select: α = " in status["message"] and "210 sentences" in status["detail"]
    plan = workspace.plan(session.request.recipe(session.project, "regmean")).with_parameters(alpha=0.35)
    *_, expected = workspace.evaluate([workspace.candidate(plan)], handlers.evaluation(session.project, "select"), [])
    assert [s.num_correct for s in session.curve[0.35].scores] == [s.num_correct for s in expected.scores]
    assert all(score.split == "select" for row in session.curve.values() for score in row.scores)
    # A slider that moves leaves the curve as it is, and the marker follows; other experts make it another.
    session.post(set_alpha(session.request, 0.2))
    *_, (_, curve, *_) = [step for step in handlers.run(VISITOR) if isinstance(step[1], dict) and "data" in step[1]]
    assert len(session.curve) == 21 and len(session.curve_levels) == 5
    assert curve["layout"]["shapes"][0]["x0"] == 0.2
    session.post(replace(session.request, experts=("d0", "d1")))
    list(handlers.run(VISITOR))
    assert session.curve == {} and set(session.curve_levels) == {"expert d0", "expert d1", "expert d2"}


def test_a_relative_curve_asks_for_the_experts_first(handlers: Handlers):
    session = handlers.sessions.get(VISITOR)
    session.post(replace(session.request, references=()))
    Searching(handlers).choose(VISITOR, "regmean.alpha", True)
    seen = []
    for _ in handlers.fill_curve(VISITOR):
        seen.append((len(session.curve_levels), len(session.curve)))
    assert (3, 0) in seen and (3, 21) in seen and seen[-1] == (4, 21)
    figure, status = fill(handlers)[-1]
    (own,) = (score.value for score in session.curve_levels["expert d0"].scores if score.domain == "d0")
    line = next(trace for trace in figure["data"] if trace["name"] == "Domain 0")
    assert line["y"][0] == pytest.approx(session.curve[0.0].scores[0].value / own)
    assert "100 %" in status["detail"] and "own experts" not in {trace["name"] for trace in figure["data"]}


def test_another_parameter_has_a_curve_of_its_own(handlers: Handlers):
    session, searching = handlers.sessions.get(VISITOR), Searching(handlers)
    with pytest.raises(RecipeError, match=r"No method that is compared has the parameter 'ties\.density'"):
        searching.choose(VISITOR, "ties.density", False)
    session.post(replace(session.request, methods=("regmean", "task_arithmetic"), references=()))
    filling = handlers.fill_curve(VISITOR)
    while not session.curve:
        next(filling)
    figure, _ = searching.choose(VISITOR, "task_arithmetic.scaling_coefficient", False)
    assert session.curve == {} and figure["layout"]["xaxis"]["title"]["text"] == "λ"
    other = handlers.fill_curve(VISITOR)
    while not session.curve:
        next(other)
    assert list(filling) == [], "two curves of one visitor fill at once"
    assert next(iter(session.curve.values())).candidate.name == "task_arithmetic"
    # Taken out of the comparison, its curve gives way to the slider's.
    session.post(replace(session.request, methods=("regmean",)))
    assert handlers.curves.choice(session) == CurveChoice()
    session.post(replace(session.request, methods=("simple_mean",)))
    assert "Compare a method" in handlers.curves.say(session)["message"]
    assert fill(handlers) == []


def test_the_curve_of_an_overtaken_state_stops(handlers: Handlers):
    session = handlers.sessions.get(VISITOR)
    filling = handlers.fill_curve(VISITOR)
    while not session.curve:
        next(filling)
    session.post(replace(session.request, num_examples=39))
    assert list(filling) == [] and len(session.curve) < 21


def test_a_sweep_that_is_stopped_ends_and_keeps_what_it_knows(handlers: Handlers):
    session, workspace, progress = handlers.sessions.get(VISITOR), handlers.workspace, Progress()
    plan = workspace.plan(session.request.recipe(session.project, "regmean"))
    select = handlers.evaluation(session.project, "select")
    values = CurveChoice().values
    rows = workspace.sweep(plan, "alpha", values, select, [], progress)
    first = next(rows)
    progress.stop()
    with pytest.raises(StoppedError):
        list(rows)
    known = [v for v in values if workspace.candidate(plan.with_parameters(alpha=v)).is_known(select)]
    assert known == [values[0]] and first[1].is_complete
    assert len(list(workspace.sweep(plan, "alpha", values, select, []))) == len(values), "what is left is done later"


def test_what_is_found_is_the_sessions_new_setting(handlers: Handlers):
    session = handlers.sessions.get(VISITOR)
    *_, (status, key, best) = Searching(handlers).find_best(VISITOR)
    assert key == ("regmean", "alpha") and status["message"].startswith(f"RegMean α = {best:g} on select")
    assert dict(dict(session.request.parameters)["regmean"])["alpha"] == best


def test_a_method_that_merges_on_text_has_a_curve(handlers: Handlers):
    session = handlers.sessions.get(VISITOR)
    session.post(replace(session.request, methods=("regmean_plusplus",), references=()))
    assert not handlers.workspace.is_measured(
        handlers.workspace.plan(session.request.recipe(session.project, "regmean_plusplus"))
    )
    fill(handlers)
    assert len(session.curve) == 21 and all(row.is_complete for row in session.curve.values())


def test_what_is_said_is_of_one_moment(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    handlers = Handlers(Workspace(settings), write_project(tmp_path))
    session = handlers.sessions.get(VISITOR)
    values = CurveChoice().values
    whole = {value: scores({"a": 30}) for value in values}

    def look_while_the_curve_grows(choice: CurveChoice) -> tuple[float, ...]:
        session.curve = whole
        return values

    monkeypatch.setattr(CurveChoice, "values", property(look_while_the_curve_grows))
    assert "0 of 21 values" in str(handlers.curves.say(session))
    assert "Best on select" in str(handlers.curves.say(session))


def test_numbers_that_are_known_are_drawn_at_once(handlers: Handlers):
    whole = fill(handlers)
    handlers.sessions.get(VISITOR).curve = {}
    again = fill(handlers)
    assert again[-1] == whole[-1] and len(again) < 10, "a browser draws no slower than numbers come"
