"""Typed sentences: what is read, what is refused, and probabilities that are those of transformers' own pipeline."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from test_flips import run, write_recipe
from tiny_models import LABELS, tiny_bert, write_model
from transformers import pipeline

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.errors import DomainError
from fusion_ui.evaluation.candidates import checkpoint_candidate
from fusion_ui.evaluation.combined import ensemble_of
from fusion_ui.evaluation.references import expert_candidates
from fusion_ui.evaluation.typed_text import MAX_CHARACTERS, MAX_EXAMPLES, Example, answer_examples, read_examples
from fusion_ui.merging.recipe import parse_recipe, read_recipe
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.ui.try_it import render_answers
from fusion_ui.workspace import Workspace

TEXTS = ("w1 w2", "w7", "w3 w4 w5 unknown", " ".join(["w9"] * 40))


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace(settings)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path)


def test_a_line_is_a_sentence_and_a_tab_makes_a_pair():
    assert read_examples("  one \n\n two\tthree\r\nfour\t\n") == (
        Example("one"),
        Example("two", "three"),
        Example("four"),
    )
    assert read_examples("${alert(1)} \ud800") == (Example("${alert(1)} \ufffd"),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nothing to answer"),
        (" \n\t\n", "nothing to answer"),
        ("x\n" * (MAX_EXAMPLES + 1), f"21 sentences are too many at once. Give {MAX_EXAMPLES}"),
        ("ok\n" + "x" * (MAX_CHARACTERS + 1), "Sentence 2 has 2,001 characters, and 2,000 is the most"),
    ],
)
def test_nothing_too_many_and_too_long_are_refused(text: str, words: str):
    with pytest.raises(DomainError, match=words):
        read_examples(text)


def test_probabilities_are_those_of_transformers_own_pipeline(workspace: Workspace, recipe: Path, tmp_path: Path):
    plan = workspace.plan(read_recipe(recipe))
    experts = [*expert_candidates(plan).values()]
    examples = [*map(Example, TEXTS), Example("w1 w2", "w8 w9")]
    found = answer_examples(
        examples, [workspace.candidate(plan), *experts], workspace.evaluation_of([], plan), Progress()
    )
    workspace.export(plan, tmp_path / "out")
    for row, directory in zip(
        found.probabilities, [tmp_path / "out", *(e.directory for e in plan.experts)], strict=True
    ):
        classify = pipeline("text-classification", model=str(directory), device="cpu")
        for i, example in enumerate(examples):
            given = {"text": example.text, "text_pair": example.pair} if example.pair else example.text
            answered = classify(given, top_k=None, truncation=True, max_length=32)
            expected = {answer["label"]: answer["score"] for answer in answered}
            assert dict(zip(found.label_names, row[i].tolist(), strict=True)) == pytest.approx(expected, abs=1e-5)
    assert found.num_tokens == (4, 3, 6, 42, 7) and found.max_tokens == 32
    assert found.note(42) == "42 tokens, of which the first 32 are read: the rest is cut."
    assert not list(workspace.settings.results_dir.glob("*")), "what was typed reached the disk"


def test_the_ensemble_is_softmax_of_mean_logits_and_costs_no_pass_of_its_own(workspace: Workspace, recipe: Path):
    plan = workspace.plan(read_recipe(recipe))
    experts = [*expert_candidates(plan).values()]
    found = answer_examples(
        [Example("w1 w2")], [*experts, ensemble_of(experts)], workspace.evaluation_of([], plan), Progress()
    )
    one, two, both = (math.log(p[0, 1] / p[0, 0]) for p in found.probabilities)
    assert both == pytest.approx((one + two) / 2, abs=1e-4)  # of two labels the odds' logarithms are averaged


def test_every_head_answers_for_itself_where_experts_keep_theirs(workspace: Workspace, tmp_path: Path):
    labels = (LABELS, ("bad", "fair", "good"))
    models = [write_model(tmp_path / f"e{i}", tiny_bert(i, labels=names)) for i, names in enumerate(labels)]
    experts = [{"name": f"e{i}", "model": str(path)} for i, path in enumerate(models)]
    plan = workspace.plan(parse_recipe({"method": "simple_mean", "experts": experts, "heads": "own"}))
    found = answer_examples([Example("w1")], [workspace.candidate(plan)], workspace.evaluation_of([], plan), Progress())
    assert [model.title for model in found.models] == ["Simple mean, head of e0", "Simple mean, head of e1"]
    assert found.label_names == (*LABELS, "bad", "fair", "good")
    assert found.probabilities.isnan().tolist() == [[[False] * 2 + [True] * 3], [[True] * 2 + [False] * 3]]
    (example,) = render_answers(found)["examples"]
    assert [model["chosen"] < 2 for model in example["models"]] == [True, False]
    assert example["models"][0]["probabilities"][2:] == [None] * 3
    json.dumps(found.describe(), allow_nan=False)


def test_without_a_model_nobody_answers(workspace: Workspace, recipe: Path):
    evaluation = workspace.evaluation_of([], workspace.plan(read_recipe(recipe)))
    with pytest.raises(DomainError, match="No model is there to answer"):
        answer_examples([Example("w1")], [], evaluation, Progress())


def test_an_evaluation_with_sentences_of_its_own_is_left_as_it_is(workspace: Workspace, tmp_path: Path):
    model = Checkpoint("m", write_model(tmp_path / "m", tiny_bert(0)), "test")
    evaluation = workspace.evaluation([], model)
    answer_examples([Example("w1")], [checkpoint_candidate("m", "M", model)], evaluation, Progress())
    assert evaluation.domains == () and evaluation.store is workspace.results


def test_the_command_answers_arguments_and_standard_input(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("fusion_ui.cli.arguments.read_settings", lambda: Settings(cache_dir=tmp_path / "cache"))
    given = json.loads(run("try", recipe, "w1 w2", "w3\tw4", "--json"))
    titles = [model["title"] for model in given["examples"][0]["models"]]
    assert titles == ["Simple mean", "Expert news", "Expert tweets", "Ensemble"]
    assert [example["pair"] for example in given["examples"]] == [None, "w4"]
    monkeypatch.setattr("sys.stdin", io.StringIO("w1 w2\nw3\tw4\n"))
    from fusion_ui.cli.trying import try_it

    try_it(recipe, None, as_json=True)
    assert json.loads(capsys.readouterr().out) == given
    with pytest.raises(DomainError, match="too many"):
        run("try", recipe, *["w1"] * 21)
