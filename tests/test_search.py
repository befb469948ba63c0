"""The best value of a parameter: found as a full sweep finds it, on fewer answers, and scored on what had no say."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_evaluation import make_domain
from tiny_models import LABELS, write_data, write_experts
from torch import Tensor

import fusion_ui.methods
from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.errors import DomainError, ParameterError, StoppedError
from fusion_ui.evaluation.candidates import Candidate, Evaluation, SingleModel
from fusion_ui.evaluation.comparison import compare
from fusion_ui.evaluation.scores import Role
from fusion_ui.evaluation.search import BestValue, SearchOutcome, SearchRow, look_ends, search_best
from fusion_ui.evaluation.stream import chunk_ends
from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.methods.base import Merged, MergeMethod
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.parameters import Range
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.solving.treatment import Treatment
from fusion_ui.workspace import Workspace

SIZES = {"news": 400, "tweets": 400, "films": 130}
"""One domain is smaller: its sentences are all answered while the others' go on."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    directories = write_experts(tmp_path_factory.mktemp("experts"), 2)
    return [Checkpoint(directory.name, directory, str(directory)) for directory in directories]


@pytest.fixture(scope="module")
def evaluation(checkpoints: list[Checkpoint], tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    workspace = Workspace(Settings(cache_dir=tmp_path_factory.mktemp("cache")))
    domains = [make_domain(name, size, seed=i) for i, (name, size) in enumerate(SIZES.items())]
    return workspace.evaluation(domains, checkpoints[0])


@dataclass(frozen=True, eq=False)
class Synthetic(Candidate):
    """Answers known beforehand, handed out in chunks as a model's are, or all at once as of one known already."""

    right: Mapping[str, np.ndarray]
    known: int = 0
    asked: list[int] = dataclasses.field(default_factory=list)

    def stream(self, evaluation: Evaluation, progress: Progress) -> Iterator[dict[str, Tensor]]:
        for end in chunk_ends(max(map(len, evaluation.domains))):
            progress.check()
            count = max(end, self.known)
            self.asked.append(count)
            yield {
                d.domain.name: torch.tensor(
                    [
                        [float(y == label) if is_right else float(y != label) for y in range(2)]
                        for label, is_right in zip(d.targets[:count], self.right[d.domain.name][:count], strict=True)
                    ]
                )
                for d in evaluation.domains
            }


def make_candidates(
    accuracy: Mapping[float, float], seed: int, agreement: float = 0.9, known: int = 0
) -> dict[float, Synthetic]:
    """Values of given true accuracy, which mostly fail on the same sentences, as merges at nearby values do."""
    generator = np.random.default_rng(seed)
    shared = {name: generator.uniform(size=size) for name, size in SIZES.items()}
    found = {}
    for value, true in accuracy.items():
        own = {name: generator.uniform(size=size) for name, size in SIZES.items()}
        alone = {name: generator.uniform(size=size) > agreement for name, size in SIZES.items()}
        right = {name: np.where(alone[name], own[name], shared[name]) < true for name in SIZES}
        found[value] = Synthetic(f"{value}", f"{value}", f"{value}", "#000000", False, right, known)
    return found


def run(found: Any) -> tuple[list[SearchRow], SearchOutcome]:
    """Everything a search yields, and what it returns."""
    rows = []
    while True:
        try:
            rows.append(next(found))
        except StopIteration as end:
            return rows, end.value


def full_means(candidates: Mapping[float, Synthetic]) -> dict[float, float]:
    """What a full sweep finds, straight from the answers."""
    return {v: float(np.mean([c.right[name].mean() for name in SIZES])) for v, c in candidates.items()}


values = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]), min_size=1, max_size=5, unique=True)


@settings(max_examples=20)
@given(order=values, seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.0, 0.02, 0.3]))
def test_without_elimination_it_is_the_full_sweep(evaluation, order: list[float], seed: int, spread: float):
    candidates = make_candidates({value: 0.8 - spread * abs(value - 0.5) for value in order}, seed)
    rows, outcome = run(search_best(candidates, evaluation, [], risk=0))
    means = full_means(candidates)
    assert outcome.best == max(order, key=lambda value: means[value])  # of equals the first, as in a sweep
    assert not any(row.is_dropped for row in rows)
    assert outcome.num_answers == outcome.num_answers_full == len(order) * sum(SIZES.values())
    assert [row.value for row in outcome.rows] == sorted(order)
    for row in outcome.rows:
        swept = [*compare([candidates[row.value]], evaluation, [], Progress())][-1]
        assert row.scores.scores == swept.scores and row.scores.is_complete
        assert row.scores.mean == pytest.approx(means[row.value])


def test_a_clear_best_is_found_and_bad_values_cost_little(evaluation):
    accuracy = {0.0: 0.5, 0.2: 0.6, 0.4: 0.7, 0.6: 0.8, 0.8: 0.92, 1.0: 0.55}
    candidates = make_candidates(accuracy, seed=1)
    rows, outcome = run(search_best(candidates, evaluation, ["news"]))
    assert outcome.best == 0.8 and outcome.close == (0.8,)
    assert outcome.sentence == "clearly better than every other value tried"
    assert outcome.num_answers < 0.5 * outcome.num_answers_full
    dropped = [row.value for row in rows if row.is_dropped]
    assert set(dropped) == set(accuracy) - {0.8} and len(dropped) == 5
    # All answer the same small beginning first, in the order given, and what is dropped is asked no more.
    assert [row.value for row in rows[:6]] == list(accuracy)
    assert all({score.num_examples for score in row.scores.scores} == {50} for row in rows[:6])
    assert max(candidates[0.0].asked) == 50 and max(candidates[0.8].asked) == 400
    for row in outcome.rows:
        assert row.is_dropped == (row.value != 0.8)
        assert (row.behind is None) == (row.value == 0.8)
        assert row.is_dropped == (not row.scores.is_complete)
    assert outcome.top.scores.scores[0].role == Role.IN_DOMAIN
    assert outcome.num_answers == sum(row.num_answers for row in outcome.rows)


def test_values_that_do_not_differ_are_all_kept_and_called_so(evaluation):
    candidates = make_candidates({0.1: 0.5, 0.8: 0.85, 0.85: 0.85, 0.9: 0.85}, seed=2, agreement=1.0)
    _, outcome = run(search_best(candidates, evaluation, []))
    assert outcome.close == (0.8, 0.85, 0.9) and outcome.best == 0.8
    assert outcome.sentence == "no clear difference from 0.8 to 0.9"
    candidates[0.85] = make_candidates({0.85: 0.6}, seed=3)[0.85]
    _, outcome = run(search_best(candidates, evaluation, []))
    assert outcome.sentence == "no clear difference between 0.8, 0.9"
    _, outcome = run(search_best({0.5: candidates[0.9]}, evaluation, []))
    assert (outcome.best, outcome.sentence) == (0.5, "the only value tried")


def test_the_winner_of_the_full_sweep_is_hardly_ever_dropped(evaluation):
    # Six values within three points of each other, where luck on the first sentences misleads most.
    num_lost, num_saved, num_runs = 0, 0, 60
    for seed in range(num_runs):
        candidates = make_candidates({v: 0.85 - 0.06 * abs(v - 0.6) for v in (0, 0.2, 0.4, 0.6, 0.8, 1)}, seed, 0.8)
        _, outcome = run(search_best(candidates, evaluation, []))
        means = full_means(candidates)
        num_lost += means[outcome.best] < max(means.values())
        num_saved += outcome.num_answers_full - outcome.num_answers
    assert num_lost <= 3  # 5 % of 60
    assert num_saved > 0


def test_the_outcome_does_not_depend_on_what_was_computed_before(evaluation):
    accuracy = {0.0: 0.6, 0.4: 0.8, 0.8: 0.84, 1.0: 0.83}
    fresh, again, known = (make_candidates(accuracy, 4, known=count) for count in (0, 0, 1000))
    outcomes = [run(search_best(candidates, evaluation, []))[1] for candidates in (fresh, again, known)]
    described = [json.dumps(BestValue("alpha", outcome, None).describe()) for outcome in outcomes]
    assert described[0] == described[1] == described[2]
    assert math.isfinite(json.loads(described[0])["num_answers"])


def test_progress_grows_to_the_end_and_a_stop_ends_it(evaluation):
    seen: list[float] = []
    candidates = make_candidates({0.0: 0.5, 0.5: 0.8, 1.0: 0.8}, seed=5)
    run(search_best(candidates, evaluation, [], Progress(lambda fraction, _: seen.append(fraction))))
    assert seen == sorted(seen) and 0 == seen[0] < seen[-1] < 1
    progress = Progress()
    found = search_best(candidates, evaluation, [], progress)
    next(found)
    progress.stop()
    with pytest.raises(StoppedError):
        next(found)


@pytest.mark.parametrize(("size", "ends"), [(1, [1]), (50, [50]), (51, [50, 51]), (400, [50, 100, 200, 400])])
def test_looks_double(size: int, ends: list[int]):
    assert look_ends(size) == ends and set(ends) <= set(chunk_ends(size))


# Over a workspace.


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace(settings)


@pytest.fixture
def plan(workspace: Workspace, checkpoints: list[Checkpoint], tmp_path: Path) -> MergePlan:
    data = str(write_data(tmp_path / "data.csv"))
    experts = [{"name": c.name, "model": str(c.directory), "calibration": {"data": data}} for c in checkpoints]
    return workspace.plan(parse_recipe({"method": "regmean", "experts": experts}))


SELECT = [make_domain("news", 120, seed=1), make_domain("tweets", 60, seed=2)]


REPORT = [make_domain("news", 70, seed=3), make_domain("tweets", 30, seed=4)]


def test_nothing_is_read_of_the_report_before_the_choice_is_made(workspace, plan, monkeypatch):
    select, report = workspace.evaluation_of(SELECT, plan), workspace.evaluation_of(REPORT, plan)
    read: list[tuple[str, str]] = []
    stream = SingleModel.stream

    def note(self: SingleModel, evaluation: Evaluation, progress: Progress) -> Iterator[dict[str, Tensor]]:
        read.append((self.key, "report" if evaluation is report else "select"))
        return stream(self, evaluation, progress)

    monkeypatch.setattr(SingleModel, "stream", note)
    found = workspace.find_best(plan, "alpha", [0.0, 0.5, 1.0], select, ["news"], report)
    rows = []
    try:
        while True:
            rows.append(next(found))
            assert all(where == "select" for _, where in read)
            assert workspace.results.get(read[-1][0], report.domain_key(report.domains[0])) is None
    except StopIteration as end:
        best = end.value
    chosen = workspace.candidate(plan.with_parameters(alpha=best.outcome.best)).key
    assert [(key, where) for key, where in read if where == "report"] == [(chosen, "report")] == read[-1:]
    assert best.report.is_complete and [score.num_total for score in best.report.scores] == [70, 30]
    assert best.report.candidate.key == chosen and len(rows) >= 3
    described = json.loads(json.dumps(best.describe()))
    assert described["best"]["alpha"] == best.outcome.best and described["report"]["mean"] == best.report.mean


def test_the_best_equals_the_sweeps_and_costs_no_merge_again(workspace, plan, monkeypatch):
    select = workspace.evaluation_of(SELECT, plan)
    alphas = [1.0, 0.0, 0.5]
    _, best = run(workspace.find_best(plan, "alpha", alphas, select, [], risk=0))
    monkeypatch.setattr(workspace, "merge", None)  # every logit is known by now
    swept = dict(workspace.sweep(plan, "alpha", alphas, select, []))
    assert best.outcome.best == max(alphas, key=lambda value: swept[value].mean)
    assert {row.value: row.scores.scores for row in best.outcome.rows} == {v: s.scores for v, s in swept.items()}
    assert best.report is None and best.describe()["report"] is None


def test_what_decides_may_not_be_reported_on(workspace, plan):
    select, report = (workspace.evaluation_of(domains, plan) for domains in (SELECT, [REPORT[0], SELECT[1]]))
    with pytest.raises(DomainError, match="sentences given to report on tweets are those of tweets"):
        next(workspace.find_best(plan, "alpha", [0.0, 1.0], select, [], report))


def test_only_numbers_the_method_accepts_are_tried(workspace, plan, checkpoints):
    select = workspace.evaluation_of(SELECT, plan)
    for name, tried, message in (
        ("beta", [1.0], "RegMean has no parameter 'beta' that is a number. It has: 'alpha'."),
        ("alpha", [0.5, 2.0], r"must be a number in \[0, 1\]. Got 2.0 instead"),
        ("alpha", [], "no value of alpha to try"),
    ):
        with pytest.raises(ParameterError, match=message):
            next(workspace.find_best(plan, name, tried, select, []))
    simple = workspace.plan(plan.recipe.model_copy(update={"method": "simple_mean", "parameters": {}}))
    with pytest.raises(ParameterError, match="Simple mean has no parameter 'alpha' that is a number"):
        next(workspace.find_best(simple, "alpha", [0.5], select, []))


@dataclass(frozen=True)
class TowardsLabel(MergeMethod):
    """Scale every parameter; a classifier bias of its own decides what all is called."""

    name: ClassVar = "towards"
    title: ClassVar = "Towards"
    formula: ClassVar = "W = s"
    color: ClassVar = "#000000"
    strength: Annotated[float, Range(-10, 10, label="Strength", help="How much.")] = 0.0

    def merge_parameter(self, slot: ParameterSlot) -> Merged:
        if slot.name != "classifier.bias":
            return torch.zeros_like(slot.mean), Treatment("mean")
        return torch.tensor([0.0, self.strength]), Treatment("mean")


def test_any_number_of_any_method_can_be_sought(workspace, plan, monkeypatch):
    monkeypatch.setattr(fusion_ui.methods, "METHODS", (*fusion_ui.methods.METHODS, TowardsLabel))
    other = workspace.plan(plan.recipe.model_copy(update={"method": "towards", "parameters": {}}))
    select = workspace.evaluation_of(SELECT, other)
    share = np.mean([np.mean([label == LABELS[1] for label in domain.labels]) for domain in SELECT])
    _, best = run(workspace.find_best(other, "strength", [-3.0, 4.0], select, []))
    assert best.outcome.best == (4.0 if share > 0.5 else -3.0)
    assert best.outcome.top.scores.mean == pytest.approx(max(share, 1 - share))
