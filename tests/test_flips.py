"""Flips and confusion, worked by hand, against counts made another way, and against the scores."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import LABELS, random_texts, tiny_bert, write_data, write_model
from torch import Tensor
from typer.testing import CliRunner

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.cli.application import app as command_line
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import DomainError, StoppedError
from fusion_ui.evaluation.answers import collect_logits
from fusion_ui.evaluation.candidates import Evaluation, SingleModel, checkpoint_candidate
from fusion_ui.evaluation.confusion import Confusion, count_confusion
from fusion_ui.evaluation.flips import FlipKind, filter_flips, find_flips
from fusion_ui.evaluation.paired import paired_difference
from fusion_ui.evaluation.scores import Role, score_rows
from fusion_ui.plots.confusion import confusion_figure
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.tasks.sequence_classification import find_probabilities
from fusion_ui.workspace import Workspace

THREE = ("bad", "fair", "good")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("models")
    return Checkpoint("m", write_model(folder / "m", tiny_bert(0, labels=THREE)), "test")


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace(settings)


def make_domain(name: str, labels: Sequence[str], pairs: tuple[str, ...] = ()) -> Domain:
    return Domain(name, name.title(), "report", random_texts(len(labels), len(name)), tuple(labels), pairs)


def logits_by_text(evaluation: Evaluation, domain: str, by_text: dict[str, list[float]]) -> Tensor:
    """Rows in evaluation order. The order is found by the tokens, not by the code that is tested."""
    encoded = next(d for d in evaluation.domains if d.domain.name == domain)
    whole = encoded.domain
    tokens = dict(zip(evaluation.tokenizer.encode(whole.texts, whole.pairs), whole.texts, strict=True))
    return torch.tensor([by_text[tokens[text]] for text in encoded.texts], dtype=torch.float)


def test_flips_worked_by_hand(workspace: Workspace, model: Checkpoint):
    domain = make_domain("news", ["good", "bad", "fair", "good", "bad"], ("w1", "w2", "w3", "w4", "w5"))
    evaluation = workspace.evaluation([domain], model)
    texts, no = domain.texts, math.nan
    first = {texts[0]: [0, 0, 4], texts[1]: [0, 9, 0], texts[2]: [5, 0, 0], texts[3]: [1, 2, no], texts[4]: [3, 0, 0]}
    other = {texts[0]: [0, 2, 0], texts[1]: [1, 0, 0], texts[2]: [0, 0, 6], texts[3]: [0, 7, 0], texts[4]: [9, 0, 0]}
    report = find_flips(
        {"news": logits_by_text(evaluation, "news", first)},
        {"news": logits_by_text(evaluation, "news", other)},
        evaluation,
    )

    def softmax(*logits: float) -> float:
        return math.exp(max(logits)) / sum(math.exp(value) for value in logits)

    found = {flip.text: flip for flip in report.flips}
    assert {text: (f.label, f.answer.label, f.other.label, f.kind) for text, f in found.items()} == {
        texts[0]: ("good", "good", "fair", FlipKind.FIXED),
        texts[1]: ("bad", "fair", "bad", FlipKind.BROKEN),
        texts[2]: ("fair", "bad", "good", FlipKind.BOTH_WRONG),
    }
    assert found[texts[0]].answer.probability == pytest.approx(softmax(0, 0, 4))
    assert found[texts[0]].other.probability == pytest.approx(softmax(0, 2, 0))
    assert {text: flip.pair for text, flip in found.items()} == dict(zip(texts[:3], ("w1", "w2", "w3"), strict=True))
    # Of 2 both are sure; of 0 the one says 0.79; of 1 the other says 0.58.
    assert [flip.text for flip in report.flips] == [texts[2], texts[0], texts[1]]
    (counted,) = report.domains
    assert (counted.num_examples, counted.num_fixed, counted.num_broken, counted.num_both_wrong) == (5, 1, 1, 1)
    assert (counted.title, counted.split, counted.num_flips, counted.difference.value) == ("News", "report", 3, 0)


def test_filters_narrow_by_text_domain_label_and_kind(workspace: Workspace, model: Checkpoint):
    domains = [make_domain("news", ["good", "bad"] * 5, tuple(f"Second {i}" for i in range(10)))]
    domains.append(make_domain("tweets", ["good"] * 4))
    evaluation = workspace.evaluation(domains, model)
    one = {d.name: torch.tensor([[0.0, 1.0, 0.0]] * len(d.texts)) for d in domains}
    two = {d.name: torch.tensor([[0.0, 0.0, 1.0]] * len(d.texts)) for d in domains}
    flips = find_flips(one, two, evaluation).flips
    assert len(filter_flips(flips)) == 14
    assert len(filter_flips(flips, domain="tweets")) == 4 and len(filter_flips(flips, label="bad")) == 5
    assert len(filter_flips(flips, kind="broken", domain="news")) == 5 and not filter_flips(flips, kind="fixed")
    assert [flip.pair for flip in filter_flips(flips, "SECOND 7")] == ["Second 7"]
    assert {flip.text for flip in filter_flips(flips, flips[0].text.upper())} >= {flips[0].text}
    assert not filter_flips(flips, domain="films") and not filter_flips(flips, "no such text")


Rows = st.lists(
    st.tuples(st.integers(0, 2), *(st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3) for _ in range(2))),
    min_size=1,
    max_size=40,
)


@given(rows=Rows)
def test_sums_agree_with_the_scores(tmp_path_factory: pytest.TempPathFactory, model: Checkpoint, rows: list):
    workspace = Workspace(Settings(cache_dir=tmp_path_factory.getbasetemp() / "shared"))
    domain = make_domain("news", [THREE[label] for label, *_ in rows])
    evaluation = workspace.evaluation([domain], model)
    (encoded,) = evaluation.domains
    one, two = (torch.tensor([rows[i][side] for i in encoded.order]) for side in (1, 2))
    report = find_flips({"news": one}, {"news": two}, evaluation)
    (counted,) = report.domains
    scores = [score_rows(encoded, logits, Role.IN_DOMAIN) for logits in (one, two)]
    assert counted.num_fixed - counted.num_broken == scores[0].num_correct - scores[1].num_correct
    assert counted.num_flips == int((one.argmax(1) != two.argmax(1)).sum()) == len(report.flips)
    assert counted.difference == paired_difference((encoded.find_right(one),), (encoded.find_right(two),))
    assert [flip.confidence for flip in report.flips] == sorted((f.confidence for f in report.flips), reverse=True)
    confusion = count_confusion(one, encoded)
    assert (confusion.num_correct, confusion.num_examples) == (scores[0].num_correct, len(rows))
    assert confusion.interval == (scores[0].low, scores[0].high)
    # Counted another way: by names, one example after the other, in the file's order.
    expected = Counter((THREE[label], THREE[max(range(3), key=lambda c: side[c])]) for label, side, _ in rows)
    names = confusion.label_names
    found = {(a, b): int(confusion.counts[i, j]) for i, a in enumerate(names) for j, b in enumerate(names)}
    assert {pair: count for pair, count in found.items() if count} == dict(expected)


def test_probabilities_leave_out_labels_that_a_model_does_not_know():
    found = find_probabilities(torch.tensor([[1.0, math.nan, 1.0], [math.nan, 3.0, math.nan]]))
    torch.testing.assert_close(found, torch.tensor([[0.5, math.nan, 0.5], [math.nan, 1, math.nan]]), equal_nan=True)


def test_confusion_worked_by_hand(workspace: Workspace, model: Checkpoint):
    domain = make_domain("news", ["good", "good", "good", "bad"])
    evaluation = workspace.evaluation([domain], model)
    by_text = dict(zip(domain.texts, [[0, 0, 1], [0, 0, 1], [1, 0, 0], [1, 0, 0]], strict=True))
    (encoded,) = evaluation.domains
    found = count_confusion(logits_by_text(evaluation, "news", by_text), encoded)
    assert found.label_names == ("bad", "good"), "a label that never occurs has no row"
    assert found.counts.tolist() == [[1, 0], [1, 2]]
    assert found.recall(0)[0] == 1 and found.recall(1)[0] == pytest.approx(2 / 3)
    assert json.dumps(found.describe())


def test_the_heat_map_is_valid_and_draws_labels_as_text():
    labels = ("<b>bad</b>", "x" * 40)
    figure = confusion_figure(Confusion("d", "D", "report", labels, torch.tensor([[3, 1], [0, 0]])))
    go.Figure(figure)
    go.Figure(confusion_figure(None))
    (trace,) = figure["data"]
    assert trace["z"] == [[0.75, 0.25], [0, 0]] and trace["text"] == [["3", "1"], ["0", "0"]]
    assert figure["layout"]["yaxis"]["ticktext"][0].startswith("&lt;b&gt;bad&lt;/b&gt;<br>recall 75.0 % [")
    assert figure["layout"]["yaxis"]["ticktext"][1].endswith("<br>no example")
    assert "<b>" not in json.dumps(figure)


def test_each_domain_is_answered_by_its_own_and_what_is_known_is_not_computed(workspace: Workspace, model: Checkpoint):
    domains = [make_domain("news", ["good"] * 60), make_domain("tweets", ["bad"] * 9), make_domain("films", ["bad"])]
    evaluation, asked, told = workspace.evaluation(domains, model), Counter[str](), list[float]()

    def stand_in(name: str, column: int) -> SingleModel:
        def load(_: Progress):
            def compute(batch) -> Tensor:
                asked[name] += len(batch.indices)
                return torch.eye(3)[[column] * len(batch.indices)]

            return compute

        return SingleModel(name, name, f"key {name}", "#000000", False, THREE, load)

    answering = {"news": stand_in("a", 0), "tweets": stand_in("b", 2)}
    for _ in range(2):
        found = collect_logits(answering, evaluation, Progress(lambda fraction, _: told.append(fraction)))
    assert {name: rows.argmax(1).unique().tolist() for name, rows in found.items()} == {"news": [0], "tweets": [2]}
    assert asked == {"a": 60, "b": 9} and told[-1] == 1 and all(0 <= fraction <= 1 for fraction in told)
    stopped = Progress()
    stopped.stop()
    with pytest.raises(StoppedError):
        collect_logits({"films": stand_in("c", 0)}, evaluation, stopped)


def test_without_labels_there_is_nothing_to_say(workspace: Workspace, model: Checkpoint):
    domain = Domain("news", "News", "report", ("w1",), ())
    evaluation = workspace.evaluation([domain], model)
    logits = collect_logits({"news": checkpoint_candidate("m", "M", model)}, evaluation, Progress())
    with pytest.raises(DomainError, match="no sentence to which a right answer is known"):
        find_flips(logits, logits, evaluation)


def write_recipe(folder: Path) -> Path:
    """A recipe of two tiny experts, news and tweets, with a file of sentences for each."""
    names = ("news", "tweets")
    experts = [
        {
            "name": name,
            "model": str(write_model(folder / name, tiny_bert(seed))),
            "calibration": {"data": str(write_data(folder / f"{name}.csv", 30, seed))},
        }
        for seed, name in enumerate(names)
    ]
    path = folder / "recipe.json"
    path.write_text(json.dumps({"method": "simple_mean", "experts": experts}))
    return path


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(command_line, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_says_what_the_page_says(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fusion_ui.cli.arguments.read_settings", lambda: Settings(cache_dir=tmp_path / "cache"))
    data = [f"--data={name}={tmp_path / name}.csv" for name in ("news", "tweets")]
    own = json.loads(run("flips", recipe, *data, "--json"))
    assert (own["against"], [d["num_examples"] for d in own["domains"]]) == ("own expert", [30, 30])
    kinds = Counter((flip["domain"], flip["kind"]) for flip in own["flips"])
    for counted, confusion in zip(own["domains"], own["confusion"], strict=True):
        assert kinds[counted["domain"], "fixed"] == counted["num_fixed"]
        assert kinds[counted["domain"], "broken"] == counted["num_broken"]
        assert sum(map(sum, confusion["counts"])) == 30 and set(confusion["labels"]) <= set(LABELS)
    accuracy = {c["domain"]: c["accuracy"][0] for c in own["confusion"]}
    scores = json.loads(run("evaluate", recipe, *data, "--json"))["scores"]
    assert accuracy == pytest.approx({score["domain"]: score["value"] for score in scores})
    other = json.loads(run("flips", recipe, *data, "--against", "tweets", "--json"))
    mine = [flip for flip in own["flips"] if flip["domain"] == "tweets"]
    assert [flip for flip in other["flips"] if flip["domain"] == "tweets"] == mine
    ensemble = run("flips", recipe, *data, "--against", "ensemble", "--limit", 1, "--domain", "news")
    assert "against Ensemble" in ensemble and "flips shown" in ensemble
    same = json.loads(run("flips", recipe, *data, "--against", recipe, "--json"))
    assert same["flips"] == [] and same["difference"]["value"] == 0
    directory = json.loads(run("flips", recipe, *data, "--against", tmp_path / "tweets", "--json"))
    assert directory["domains"] == other["domains"]
