"""`fusion-ui train` for every task: one model of all domains learns them, and scripts of their own say so."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from generative_models import tiny_gpt2_writer, tiny_t5, write_writer
from glue_experts import encode, write_rows
from seqeval.metrics import f1_score
from sklearn.metrics import f1_score as binary_f1
from test_causal_language_model import STEPS, choose_plainly, make_choices, make_texts, score_plainly
from test_sequence_to_sequence import WORDS, make_rows, write_csv, write_plainly
from test_token_classification import tags_by_transformers
from tiny_models import tiny_bert, write_model
from tiny_taggers import make_sentences, tags_of, write_sentences, write_tagger
from trained_tasks import DOMAINS, TRAINED, TrainedTask, make_task_rows, score_by_script, train_expert

from fusion_ui.cli import main
from fusion_ui.domains.batches import EncodedText, pad_batch
from fusion_ui.tasks import TASKS

FAST = ("--learning-rate", "5e-3")
WIDE = 48
"""Word embeddings are kept, so random ones must be wide enough to tell words apart."""


def write_recipe(folder: Path, experts: Sequence[dict[str, Any]], **about: Any) -> Path:
    value = {"method": "simple_mean", "base": str(folder / "base"), "experts": experts, **about}
    (folder / "recipe.json").write_text(json.dumps(value))
    return folder / "recipe.json"


def train(recipe: Path, *options: str, code: int = 0) -> Path:
    out = recipe.parent / "multitask"
    with pytest.raises(SystemExit) as ended:
        main(["train", str(recipe), "--out", str(out), *options])
    assert ended.value.code == code
    return out


def expert(name: str, model: Path, data: Path, **calibration: Any) -> dict[str, Any]:
    return {"name": name, "model": str(model), "calibration": {"data": str(data), **calibration}}


def write_classifiers(folder: Path, task: TrainedTask) -> list[dict[str, Any]]:
    """Experts that need not have learned anything, beside the text that a model learns from."""
    experts = []
    for domain, labels in zip(DOMAINS, task.labels, strict=True):
        model: Any = tiny_bert(1, labels=labels, hidden_size=WIDE)
        model.config.problem_type = None if task.counts else "multi_label_classification"
        data = write_rows(folder / f"{domain}.csv", make_task_rows(task, domain, 200, seed=0))
        pair = "pair" if task.counts else None
        experts.append(expert(domain, write_model(folder / domain, model), data, pair_column=pair))
    return experts


@pytest.mark.parametrize("name", ["mnli", "qqp", "stsb"])
def test_pairs_and_numbers_are_learned(name: str, tmp_path: Path):
    task = TRAINED[name]
    write_model(tmp_path / "base", tiny_bert(0, hidden_size=WIDE))
    recipe = write_recipe(tmp_path, write_classifiers(tmp_path, task))
    out = train(recipe, "--epochs", "30", "--batch-size", "16", *FAST)
    for domain in DOMAINS:
        assert score_by_script(task, out, domain) > 0.75, domain


def test_several_labels_are_learned(tmp_path: Path):
    from transformers import AutoModelForSequenceClassification

    task = TRAINED["feelings"]
    train_expert(tmp_path / "base", task, 0, tiny_bert(0, hidden_size=WIDE).state_dict())
    recipe = write_recipe(tmp_path, write_classifiers(tmp_path, task), heads="union")
    out = train(recipe, "--epochs", "30", "--batch-size", "16", "--learning-rate", "1e-3")
    model: Any = AutoModelForSequenceClassification.from_pretrained(out)
    assert model.config.problem_type == "multi_label_classification"
    assert set(model.config.label2id) == {"anger", "joy", "fear", "sadness"}
    rows = [row for domain in DOMAINS for row in make_task_rows(task, domain, 80, seed=2)]
    with torch.inference_mode():
        given = model(**encode(out, rows)).logits > 0
    for label in ("joy", "fear"):  # of which both domains' text tells
        truth = [label in row[2].split(", ") for row in rows]
        assert binary_f1(truth, given[:, model.config.label2id[label]].numpy()) > 0.7, label


def test_tags_are_learned(tmp_path: Path):
    kinds = ("per", "loc")
    write_tagger(tmp_path / "base", ("O",))
    experts = []
    for kind in kinds:
        data = write_sentences(tmp_path / f"{kind}.jsonl", make_sentences(160, [kind], seed=1))
        experts.append(expert(kind, write_tagger(tmp_path / kind, tags_of(*kinds)), data))
    out = train(write_recipe(tmp_path, experts), "--epochs", "30", "--learning-rate", "1e-2")
    for kind in kinds:
        sentences = make_sentences(60, [kind], seed=2)
        answers = tags_by_transformers(out, sentences)
        assert f1_score([tags for _, tags in sentences], answers) > 0.6, kind


def test_written_answers_are_learned(tmp_path: Path):
    write_writer(tmp_path / "base", tiny_t5(3, d_model=32, d_kv=16, d_ff=64), ends=True)
    experts = [
        expert(name, tmp_path / "base", write_csv(tmp_path / f"{name}.csv", *make_rows(name, 200, 1))) for name in WORDS
    ]
    out = train(write_recipe(tmp_path, experts), "--epochs", "16", *FAST)
    for name in WORDS:
        texts, labels = make_rows(name, 60, 4)
        said = write_plainly(out, texts)
        assert sum(a == b for a, b in zip(said, labels, strict=True)) > 0.75 * len(labels), name


@pytest.mark.parametrize("has_labels", [False, True])
def test_what_comes_next_is_learned(has_labels: bool, tmp_path: Path):
    write_writer(tmp_path / "base", tiny_gpt2_writer(3), pads=False)
    experts = []
    for name in STEPS:
        texts, labels = make_choices(name, 200, 1)
        rows = [f"{t},{c}" for t, c in zip(texts, labels, strict=True)] if has_labels else texts
        data = tmp_path / f"{name}.csv"
        data.write_text("\n".join(["text,label" if has_labels else "text", *rows]))
        experts.append(expert(name, tmp_path / "base", data))
    out = train(write_recipe(tmp_path, experts), "--epochs", "40", *FAST)
    for name in STEPS:
        perplexity, accuracy = score_plainly(out, make_texts(name, 60, 4))
        assert (
            math.isfinite(perplexity)
            and perplexity < 0.5 * score_plainly(tmp_path / "base", make_texts(name, 60, 4))[0]
        )
        assert accuracy > 0.3, "the first word does not say whether they count up or down"
        if has_labels:
            texts, labels = make_choices(name, 60, 4)
            said = choose_plainly(out, texts)
            assert sum(a == b for a, b in zip(said, labels, strict=True)) > 0.75 * len(labels), name


def test_different_tasks_are_not_trained_in_one_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_model(tmp_path / "base", tiny_bert(0))
    data = write_rows(tmp_path / "data.csv", make_task_rows(TRAINED["qqp"], "books", 30, seed=0))
    models = [
        write_model(tmp_path / name, tiny_bert(1, labels=labels)) for name, labels in (("a", ("x",)), ("b", "yz"))
    ]
    experts = [expert(model.name, model, data, pair_column="pair") for model in models]
    out = train(write_recipe(tmp_path, experts, heads="own"), code=2)
    assert "cannot be trained for regression and for text classification" in capsys.readouterr().err
    assert not out.exists()


def test_padding_changes_no_loss():
    """A batch loses what its texts lose alone, on average over what is counted: words, tokens or texts."""
    texts = [EncodedText((2, 5, 6, 3)), EncodedText((2, 7, 3))]
    (causal,) = [task for task in TASKS if task.name == "causal-language-model"]
    model = tiny_gpt2_writer(1)
    alone = [causal.training_loss(model, pad_batch(texts, [i], 0), [None]) for i in range(2)]
    together = causal.training_loss(model, pad_batch(texts, [0, 1], 0), [None] * 2)
    torch.testing.assert_close(together, (3 * alone[0] + 2 * alone[1]) / 5)
    writer, (t5,) = tiny_t5(1), [task for task in TASKS if task.name == "sequence-to-sequence"]
    asked = [EncodedText((5, 6, 3), answer=(40, 41, 3)), EncodedText((7, 3), answer=(42, 3))]
    alone = [t5.training_loss(writer, pad_batch(asked, [i], 0), ["x"]) for i in range(2)]
    together = t5.training_loss(writer, pad_batch(asked, [0, 1], 0), ["x"] * 2)
    torch.testing.assert_close(together, (3 * alone[0] + 2 * alone[1]) / 5)
