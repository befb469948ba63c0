"""What needs no model, the other metrics of the same answers, and texts that are not read whole, for every task."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from generative_models import tiny_gpt2_writer, tiny_t5, write_writer
from sklearn.metrics import f1_score
from test_multi_label import multi_label_bert
from tiny_models import tiny_bert, write_model
from tiny_taggers import tags_of, write_tagger

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.cli import main
from fusion_ui.domains.domain import Domain
from fusion_ui.evaluation.candidates import Evaluation
from fusion_ui.evaluation.guessing import CHANCE, MAJORITY
from fusion_ui.settings import Settings
from fusion_ui.workspace import Workspace


def evaluate(settings: Settings, model: Path, labels: tuple[str, ...], metric: str, **change: Any) -> Evaluation:
    """Texts of six words each with these labels."""
    texts = tuple(" ".join(f"w{(i + j) % 40}" for j in range(6)) for i in range(len(labels)))
    domain = Domain("d", "d", "report", texts, labels, metric=metric, **change)
    return Workspace(settings).evaluation([domain], Checkpoint("m", model, "m"))


def guess(evaluation: Evaluation) -> tuple[float, float]:
    (encoded,) = evaluation.domains
    found = [g.score(encoded, torch.zeros(len(encoded), 1), True) for g in (CHANCE, MAJORITY)]
    assert all(score.low == score.value == score.high for score in found)
    return found[0].value, found[1].value


def test_a_language_model_has_as_many_chances_as_there_are_choices(settings: Settings, tmp_path: Path):
    model = write_writer(tmp_path / "m", tiny_gpt2_writer(0))
    labels = ("w40",) * 7 + ("w41",) * 3
    assert guess(evaluate(settings, model, labels, "accuracy")) == pytest.approx((1 / 2, 0.7))
    more = evaluate(settings, model, labels, "accuracy", choices=("w42", "w43"))
    assert guess(more) == pytest.approx((1 / 4, 0.7)), "what no text here has can be guessed all the same"
    always = f1_score(labels, ["w40"] * 10, average="macro")
    assert guess(evaluate(settings, model, labels, "macro_f1"))[1] == pytest.approx(always)
    (encoded,) = more.domains
    assert encoded.task.count_classes(encoded.targets) == {0: 7, 1: 3, 2: 0, 3: 0}


def test_a_model_that_writes_is_guessed_by_its_labels_while_they_are_few(settings: Settings, tmp_path: Path):
    model = write_writer(tmp_path / "m", tiny_t5(0), ends=True)
    labels = ("w40 w41",) * 6 + ("w42",) * 4
    assert guess(evaluate(settings, model, labels, "exact_match")) == pytest.approx((1 / 2, 0.6))
    always = f1_score(labels, [labels[0]] * 10, average="macro")
    assert guess(evaluate(settings, model, labels, "macro_f1"))[1] == pytest.approx(always)
    free = evaluate(settings, model, tuple(f"w{i} w{i + j}" for i in range(20) for j in (1, 2, 3)), "exact_match")
    assert not CHANCE.answered(free) and not MAJORITY.answered(free)


def test_of_several_labels_the_sets_that_occur_are_guessed(settings: Settings, tmp_path: Path):
    model = write_model(tmp_path / "m", multi_label_bert(0))
    labels = ("joy",) * 5 + ("anger, joy",) * 3 + ("[]",) * 2
    assert guess(evaluate(settings, model, labels, "subset_accuracy")) == pytest.approx((1 / 3, 0.5))
    truth = np.array([["anger" in label, "joy" in label] for label in labels])
    said = np.tile([False, True], (10, 1))
    always = f1_score(truth, said, average="macro")
    assert guess(evaluate(settings, model, labels, "macro_f1"))[1] == pytest.approx(always)
    nothing = evaluate(settings, model, ("[]",) * 3, "subset_accuracy")
    assert guess(nothing) == (1, 1)


def test_at_words_any_tag_is_guessed_and_most_words_have_none(settings: Settings, tmp_path: Path):
    first, inside = (names := tags_of("per", "loc"))[1:3]
    model = write_tagger(tmp_path / "m", names)
    labels = (f"O O {first} {inside} O O",) * 4 + ("O O O O O O",) * 2
    words = Counter(tag for label in labels for tag in label.split())
    chance, majority = guess(evaluate(settings, model, labels, "word_accuracy"))
    assert (chance, majority) == pytest.approx((1 / 3, words["O"] / 36))
    assert guess(evaluate(settings, model, labels, "entity_f1"))[1] == 0, "who marks nothing finds nothing"


def test_the_command_prints_the_other_metrics_the_guesses_and_what_was_cut(
    settings: Settings, tmp_path: Path, capsys: Any, monkeypatch: Any
):
    monkeypatch.setenv("FUSION_UI_CACHE_DIR", str(settings.cache_dir))
    model = write_model(tmp_path / "m", tiny_bert(0))  # reads 32 tokens
    rows = [(" ".join([f"w{i}"] * (40 if i < 3 else 4)), ("negative", "positive")[i % 3 == 0]) for i in range(12)]
    data = tmp_path / "data.csv"
    data.write_text("\n".join(["text,label", *(f"{text},{label}" for text, label in rows)]))

    def run(*options: str) -> Any:
        with pytest.raises(SystemExit) as end:
            main(["evaluate", str(model), "--data", f"news={data}", *options])
        assert end.value.code == 0
        return capsys.readouterr()

    printed = run()
    told = json.loads(run("--json").out)
    by_f1 = json.loads(run("--metric", "macro_f1", "--json").out)
    (other,) = told["other_metrics"]
    assert (other["metric"], other["value"]) == ("macro_f1", by_f1["scores"][0]["value"])
    assert by_f1["other_metrics"][0]["value"] == told["scores"][0]["value"]
    assert f"; macro-F1 {100 * other['value']:.1f}" in printed.out
    assert "; chance 50.0" in printed.out and "; majority class 66.7" in printed.out
    assert "news: 3 of 12 texts are longer than the 32 tokens" in printed.err
    assert told["num_cut"] == {"news": 3}
