"""Training the multi-task model: it learns what there is to learn, the same every time, and is whole or not there."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from tiny_models import LABELS, tiny_bert, tiny_gpt2, write_data, write_model
from torch import nn

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.cli import main
from fusion_ui.domains.batches import EncodedText, pad_batch
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import DomainError, ParameterError, StoppedError, TrainingError
from fusion_ui.progress import Progress
from fusion_ui.tasks import find_task
from fusion_ui.tasks.sequence_classification import SequenceClassification
from fusion_ui.training.fine_tuning import REPORT, fine_tune
from fusion_ui.training.loop import plan_batches, train_model
from fusion_ui.training.settings import TrainingSettings
from fusion_ui.training.start import load_start

TASK = SequenceClassification()
QUICK = TrainingSettings(num_epochs=10, learning_rate=3e-3, batch_size=8)


def answered_text(count: int, seed: int, halves: tuple[range, range] = (range(0, 8), range(8, 16))) -> Domain:
    """Texts of which each is of words of one half, which is its label."""
    generator, texts, labels = random.Random(seed), [], []
    for i in range(count):
        half = halves[i % 2]
        texts.append(" ".join(f"w{word}" for word in generator.choices(half, k=generator.randint(3, 8))))
        labels.append(LABELS[i % 2])
    return Domain(f"d{seed}", f"d{seed}", "train", tuple(texts), tuple(labels))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    directory = write_model(tmp_path_factory.mktemp("base") / "base", tiny_bert(99))
    return Checkpoint("base", directory, "someone/base", "abc")


def plain_accuracy(directory: Path, domain: Domain) -> float:
    """By transformers alone."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    with torch.inference_mode():
        chosen = model(**tokenizer(list(domain.texts), padding=True, return_tensors="pt")).logits.argmax(-1).tolist()
    return sum(model.config.id2label[c] == t for c, t in zip(chosen, domain.labels, strict=True)) / len(chosen)


def test_the_model_answers_what_it_was_trained_for(base: Checkpoint, tmp_path: Path):
    first, second = answered_text(120, 1), answered_text(120, 2, (range(16, 24), range(24, 32)))
    done = fine_tune(base, TASK, LABELS, [first, second], QUICK, tmp_path / "both")
    for seed, halves in ((11, (range(0, 8), range(8, 16))), (12, (range(16, 24), range(24, 32)))):
        held_back = answered_text(60, seed, halves)
        assert plain_accuracy(tmp_path / "both", held_back) > 0.85, "chance is 0.5"
        assert plain_accuracy(base.directory, held_back) < 0.75
    about = json.loads((tmp_path / "both" / REPORT).read_text())
    assert about["num_examples"] == {"d1": 120, "d2": 120} == done.num_examples and done.seconds > 0
    assert (about["base"], about["revision"], about["settings"]) == ("someone/base", "abc", QUICK.describe())
    trained = Checkpoint("both", tmp_path / "both", "both")
    assert trained.label_names == LABELS and find_task(trained.config).load_model(trained)
    assert trained.tokenizer_fingerprint == base.tokenizer_fingerprint
    word = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(trained.tensors.read(word), base.tensors.read(word)), "embeddings are kept"


def test_the_same_settings_give_the_same_bits_whatever_ran_before(base: Checkpoint, tmp_path: Path):
    domain, how = answered_text(32, 1), TrainingSettings(1, 1e-3, 8)
    for i, changed in enumerate([how, how, TrainingSettings(1, 1e-3, 8, seed=1)]):
        torch.rand(7)
        before = torch.random.get_rng_state()
        fine_tune(base, TASK, LABELS, [domain], changed, tmp_path / str(i))
        assert torch.equal(torch.random.get_rng_state(), before), "others' random numbers go on as if nothing was"
    one, same, other = (Checkpoint("", tmp_path / str(i), "").fingerprint for i in range(3))
    assert one == same != other


def test_every_epoch_reads_every_example_once():
    how = TrainingSettings(num_epochs=3, batch_size=4, seed=5)
    lengths = [3, 50, 4, 60, 5, 55, 70, 3, 4, 52]
    steps = plan_batches(lengths, how)
    assert [len(step) for step in steps].count(4) == 6 and len(steps) == 9
    for epoch in range(3):
        assert sorted(i for step in steps[3 * epoch : 3 * epoch + 3] for i in step) == list(range(10))
    assert all(max(lengths[i] for i in step) - min(lengths[i] for i in step) < 60 for step in steps)
    assert plan_batches(lengths, how) == steps != plan_batches(lengths, TrainingSettings(3, batch_size=4, seed=6))


def test_heads_are_drawn_by_their_seed_alone(base: Checkpoint):
    def head(seed: int | None) -> torch.Tensor:
        return load_start(base, TASK, LABELS, seed).state_dict()["classifier.weight"]

    own = base.tensors.read("classifier.weight")
    assert torch.equal(head(None), own)
    assert torch.equal(head(1), head(1)) and not torch.equal(head(1), head(2)) and not torch.equal(head(1), own)
    bodies = [load_start(base, TASK, LABELS, seed).state_dict() for seed in (1, 2)]
    assert all(torch.equal(bodies[0][n], bodies[1][n]) for n in bodies[0] if not n.startswith("classifier."))


def test_a_base_without_a_head_gets_one_for_the_labels(tmp_path: Path):
    from transformers import BertForMaskedLM

    language = BertForMaskedLM(tiny_bert(0).config)
    base = Checkpoint("words", write_model(tmp_path / "words", language), "words")
    labels = ("bad", "fair", "good")
    models = [load_start(base, TASK, labels, seed) for seed in (None, None, 3)]
    assert models[0].config.id2label == dict(enumerate(labels))
    first, same, other = (model.state_dict() for model in models)
    assert first["classifier.weight"].shape[0] == 3
    assert torch.equal(first["classifier.weight"], same["classifier.weight"])
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_a_step_is_the_gradient_of_the_mean_cross_entropy(base: Checkpoint):
    model = load_start(base, TASK, LABELS, None).eval()
    texts = [EncodedText((2, 5, 6, 3)), EncodedText((2, 7, 3))]
    batch = pad_batch(texts, [0, 1], 0)
    loss = TASK.training_loss(model, batch, [1, 0])
    rows = [model(torch.tensor([text.ids])).logits[0].double().log_softmax(-1) for text in texts]
    assert loss.item() == pytest.approx(-(rows[0][1] + rows[1][0]).item() / 2, rel=1e-5)


def test_gpt2_is_trained_on_its_last_tokens(tmp_path: Path):
    directory = write_model(tmp_path / "gpt2", tiny_gpt2(3), special_tokens=False)
    base = Checkpoint("gpt2", directory, "gpt2")
    fine_tune(base, TASK, LABELS, [answered_text(120, 1)], QUICK, tmp_path / "out")
    trained = Checkpoint("out", tmp_path / "out", "out")
    assert plain_accuracy(trained.directory, answered_text(60, 2)) > 0.85


def test_a_stop_leaves_nothing(base: Checkpoint, tmp_path: Path):
    said: list[str] = []
    progress = Progress(lambda _, message: (said.append(message), progress.stop() if len(said) > 6 else None))
    with pytest.raises(StoppedError):
        fine_tune(base, TASK, LABELS, [answered_text(64, 1)], QUICK, tmp_path / "out", progress)
    assert list(tmp_path.iterdir()) == []
    assert any("s left" in message for message in said), "an estimate is given"


class Diverging(SequenceClassification):
    def training_loss(self, model: nn.Module, batch: object, targets: object) -> torch.Tensor:
        return torch.tensor(float("inf"))


def test_what_cannot_be_trained_is_said(base: Checkpoint, tmp_path: Path):
    texts, out = [EncodedText((2, 5, 3))], tmp_path / "out"
    model = load_start(base, TASK, LABELS, None)
    with pytest.raises(TrainingError, match=r"step 1: the loss is inf\. Lower the learning rate"):
        train_model(model, Diverging(), texts, [0], QUICK, 0)
    with pytest.raises(DomainError, match="no text to train on"):
        fine_tune(base, TASK, LABELS, [], QUICK, out)
    with pytest.raises(DomainError, match="has no labels to train on"):
        fine_tune(base, TASK, LABELS, [Domain("a", "a", "train", ("w1",), ())], QUICK, out)
    with pytest.raises(DomainError, match="which the model does not know"):
        fine_tune(base, TASK, LABELS, [Domain("a", "a", "train", ("w1",), ("purple",))], QUICK, out)
    for change in MappingProxyType({"num_epochs": 0, "batch_size": 0, "learning_rate": 2.0, "max_tokens": 1}).items():
        with pytest.raises(ParameterError, match=change[0]):
            TrainingSettings(**dict([change]))
    assert not out.exists()


# The command.


@pytest.fixture
def recipe(base: Checkpoint, tmp_path: Path) -> Path:
    experts = []
    for i, name in enumerate(("a", "b")):
        write_model(tmp_path / f"expert{i}", tiny_bert(i))
        write_data(tmp_path / f"{name}.csv", 24, seed=i)
        experts.append({"name": name, "model": f"expert{i}", "calibration": {"data": f"{name}.csv"}})
    value = {"method": "simple_mean", "base": str(base.directory), "experts": experts}
    (tmp_path / "recipe.json").write_text(json.dumps(value))
    return tmp_path / "recipe.json"


def succeed(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def test_one_command_trains_on_the_recipes_own_text(recipe: Path, capsys: pytest.CaptureFixture[str]):
    out = recipe.parent / "multitask"
    succeed("train", str(recipe), "--out", str(out), "--epochs", "1", "--json")
    about = json.loads(capsys.readouterr().out)
    assert about["num_examples"] == {"a": 24, "b": 24} and about["seconds"] > 0
    succeed("evaluate", str(out), "--data", f"a={recipe.parent / 'a.csv'}")
    assert "24 of a" in capsys.readouterr().out
    succeed("train", str(recipe), "--out", f"{out}2", "--epochs", "1", "--data", f"a={recipe.parent / 'a.csv'}")
    assert "trained on 24 of a in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"base": None}, "Set 'base' in it"),
        ({"calibration": {"statistics": "a.safetensors"}}, "cannot stand for it in training"),
        ({"calibration": {"data": "a.csv", "label_column": None}}, "no labelled text for a"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused(
    recipe: Path, change: dict, sentence: str, capsys: pytest.CaptureFixture[str]
):
    value = json.loads(recipe.read_text())
    target = value if "base" in change else value["experts"][0]
    target.update(change)
    recipe.write_text(json.dumps(value))
    with pytest.raises(SystemExit, match="2"):
        main(["train", str(recipe), "--out", str(recipe.parent / "out")])
    assert sentence in capsys.readouterr().err
    assert not (recipe.parent / "out").exists()


def test_a_full_directory_is_not_overwritten(recipe: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(["train", str(recipe), "--out", str(recipe.parent)])
    assert "exists already" in capsys.readouterr().err


def test_an_interrupt_ends_the_command_and_leaves_nothing(recipe: Path):
    out = recipe.parent / "multitask"
    command = [sys.executable, "-m", "fusion_ui", "train", str(recipe), "--out", str(out), "--epochs", "100000"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    # A shell gives what it runs in the background a closed ear for interrupts, which is inherited.
    listen = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=listen)
    try:
        deadline = time.monotonic() + 120
        while not list(recipe.parent.glob(".multitask.*.part")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode in (130, -signal.SIGINT), error
    assert not out.exists() and not list(recipe.parent.glob(".multitask.*"))
