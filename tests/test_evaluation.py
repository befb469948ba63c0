"""Evaluation: logits in growing chunks, ensembles, what is remembered, and what a stop leaves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import (
    LABELS,
    VOCABULARY,
    random_texts,
    tiny_bert,
    tiny_gpt2,
    write_data,
    write_experts,
    write_model,
)
from torch import Tensor, nn

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.batches import Batch, EncodedText
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import StoppedError
from fusion_ui.evaluation.candidates import Evaluation, SingleModel, checkpoint_candidate
from fusion_ui.evaluation.combined import Ensemble
from fusion_ui.evaluation.scores import Role
from fusion_ui.evaluation.stream import EncodedDomain
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.tasks.sequence_classification import SequenceClassification
from fusion_ui.workspace import Workspace


def make_domain(name: str, num_texts: int, seed: int = 0) -> Domain:
    """Each text's label says whether its first word is an even one, so a label on a wrong text shows."""
    texts = random_texts(num_texts, seed)
    return Domain(name, name.title(), "report", texts, tuple(LABELS[int(text.split()[0][1:]) % 2] for text in texts))


def encoded_as(labels: tuple[int, ...], name: str = "news") -> EncodedDomain:
    """A domain whose examples, in order, have these positions of labels; its texts do not matter."""
    domain = make_domain(name, len(labels))
    texts = (EncodedText((0,)),) * len(labels)
    task = SequenceClassification()
    return EncodedDomain(domain, texts, labels, tuple(range(len(labels))), task, task.metrics[0], LABELS)


DOMAINS = [make_domain("news", 130, seed=1), make_domain("tweets", 40, seed=2)]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    directories = write_experts(tmp_path_factory.mktemp("experts"), 2)
    return [Checkpoint(directory.name, directory, str(directory)) for directory in directories]


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace(settings)


@pytest.fixture
def evaluation(workspace: Workspace, checkpoints: list[Checkpoint]) -> Evaluation:
    return workspace.evaluation(DOMAINS, checkpoints[0])


class CountingModel:
    """A stand-in that answers by the first word and notes what it was asked."""

    def __init__(self, key: str = "counting", before_batch: Callable[[int], None] = lambda _: None) -> None:
        self.num_loads, self.batches, self.before_batch = 0, [], before_batch
        self.candidate = SingleModel("model", "Model", key, "#000000", False, LABELS, self.load)

    def load(self, _: Progress) -> Callable[[Batch], Tensor]:
        self.num_loads += 1
        return self.compute

    def compute(self, batch: Batch) -> Tensor:
        self.before_batch(len(self.batches))
        self.batches.append(batch)
        odd = (batch.input_ids[:, 1] % 2).float()
        return torch.stack([1 - odd, odd], 1)

    @property
    def num_texts(self) -> int:
        return sum(len(batch.indices) for batch in self.batches)


def last_of(candidate, evaluation: Evaluation) -> dict[str, Tensor]:
    return list(candidate.stream(evaluation, Progress()))[-1]


def one_pass(model: nn.Module, domain: Domain) -> dict[str, Tensor]:
    """Text -> logits, each text alone through the model: no batches, no padding, no order."""
    ids = {text: [2, *(VOCABULARY.index(word) for word in text.split()), 3] for text in domain.texts}
    return {text: model(input_ids=torch.tensor([tokens])).logits[0] for text, tokens in ids.items()}


def text_of(text: EncodedText) -> str:
    return " ".join(VOCABULARY[token] for token in text.ids[1:-1])


def check_all_logits(evaluation: Evaluation, checkpoint: Checkpoint, model: nn.Module) -> None:
    steps = list(checkpoint_candidate("model", "Model", checkpoint).stream(evaluation, Progress()))
    assert [len(step["news"]) for step in steps] == [8, 50, 100, 130]
    assert [len(step["tweets"]) for step in steps] == [8, 40, 40, 40]
    for encoded in evaluation.domains:
        expected = one_pass(model, encoded.domain)
        stacked = torch.stack([expected[text_of(text)] for text in encoded.texts])
        for step in steps:
            logits = step[encoded.domain.name]
            torch.testing.assert_close(logits, stacked[: len(logits)], rtol=1e-4, atol=1e-5)


def test_logits_in_chunks_equal_those_of_one_pass(checkpoints, evaluation):
    check_all_logits(evaluation, checkpoints[0], tiny_bert(0))


@pytest.mark.parametrize("padding_token", [True, False])
def test_padding_is_what_the_model_takes_for_padding(workspace, tmp_path: Path, padding_token: bool):
    # GPT-2 answers at the last token that is not `pad_token_id` of its config. Filled with anything else it answers
    # at the filling; and its tokenizer has no padding token of its own.
    model = tiny_gpt2()
    model.config.pad_token_id = 0 if padding_token else 1
    directory = write_model(tmp_path / "gpt2", model, padding_token=padding_token)
    checkpoint = Checkpoint("gpt2", directory, "test")
    check_all_logits(workspace.evaluation(DOMAINS, checkpoint), checkpoint, model)


@pytest.mark.parametrize("make_model", [tiny_bert, tiny_gpt2])
def test_a_text_longer_than_the_model_can_read_is_cut(workspace, tmp_path: Path, make_model: Callable[[], nn.Module]):
    # Both read 32 tokens, which BERT's config calls max_position_embeddings and GPT-2's n_positions.
    checkpoint = Checkpoint("model", write_model(tmp_path / "model", make_model()), "test")
    domain = Domain("long", "Long", "report", (" ".join(["w1"] * 60), "w2"), LABELS)
    evaluation = workspace.evaluation([domain], checkpoint)
    assert sorted(map(len, evaluation.domains[0].texts)) == [3, 32]
    assert last_of(checkpoint_candidate("model", "Model", checkpoint), evaluation)["long"].isfinite().all()


@pytest.mark.parametrize("others", [(), ("w1 w2", "w3")])
def test_an_empty_text_is_answered_too(workspace, tmp_path: Path, others: tuple[str, ...]):
    # Without special tokens, as in GPT-2, it has no token at all.
    directory = write_model(tmp_path / "gpt2", tiny_gpt2(), special_tokens=False)
    checkpoint = Checkpoint("gpt2", directory, "test")
    domain = Domain("empty", "Empty", "report", ("", *others), LABELS[:1] * (1 + len(others)))
    evaluation = workspace.evaluation([domain], checkpoint)
    logits = last_of(checkpoint_candidate("gpt2", "GPT-2", checkpoint), evaluation)["empty"]
    assert logits.shape == (1 + len(others), 2) and logits.isfinite().all()


def test_every_text_keeps_its_own_label_and_is_there_once(evaluation):
    for encoded in evaluation.domains:
        texts = [text_of(text) for text in encoded.texts]
        assert sorted(texts) == sorted(encoded.domain.texts)
        assert texts != list(encoded.domain.texts)  # in another order than the file's, which may be sorted
        assert [int(text.split()[0][1:]) % 2 for text in texts] == list(encoded.targets)


def test_scores_come_in_growing_chunks_with_their_counts(workspace, evaluation):
    # The stand-in looks at the token id of the first word, which is even where the word's number is.
    found = list(workspace.evaluate([CountingModel().candidate], evaluation, ["tweets"]))
    assert [scores.is_complete for scores in found] == [False, False, False, True]
    for scores in found:
        assert [score.value for score in scores.scores] == [1.0, 1.0] and scores.mean == 1.0
    news, tweets = found[1].scores
    assert (news.domain, news.split, news.role, news.num_examples, news.num_total) == (
        "news", "report", Role.OUT_OF_DOMAIN, 50, 130,
    )  # fmt: skip
    assert (tweets.role, tweets.num_examples, tweets.num_total) == (Role.IN_DOMAIN, 40, 40)


def test_an_ensemble_is_the_mean_of_its_members_logits(checkpoints, evaluation):
    members = tuple(checkpoint_candidate(c.name, c.name, c) for c in checkpoints)
    ensemble = Ensemble("ensemble", "Ensemble", "ensemble", "#000000", True, members)
    steps = list(ensemble.stream(evaluation, Progress()))
    assert [len(step["news"]) for step in steps] == [8, 50, 100, 130]
    for encoded in evaluation.domains:
        single = [one_pass(tiny_bert(seed), encoded.domain) for seed in range(len(members))]
        expected = [(single[0][text_of(t)] + single[1][text_of(t)]) / 2 for t in encoded.texts]
        torch.testing.assert_close(steps[-1][encoded.domain.name], torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_an_ensemble_with_one_member_known_already_still_counts_the_same_texts(checkpoints, evaluation):
    members = tuple(checkpoint_candidate(c.name, c.name, c) for c in checkpoints)
    first, second = (last_of(member, evaluation) for member in members)
    fresh = SingleModel("e1", "E1", "not known yet", "#000000", True, LABELS, members[1].load)
    ensemble = Ensemble("ensemble", "Ensemble", "ensemble", "#000000", True, (members[0], fresh))
    for step in ensemble.stream(evaluation, Progress()):
        for name, logits in step.items():
            count = len(logits)
            torch.testing.assert_close(logits, (first[name][:count] + second[name][:count]) / 2, rtol=1e-4, atol=1e-5)


def test_a_second_run_computes_nothing(evaluation, workspace, checkpoints, settings):
    model = CountingModel()
    first = last_of(model.candidate, evaluation)
    assert (model.num_loads, model.num_texts) == (1, 170)
    second = last_of(model.candidate, evaluation)
    # Another process finds them on disk.
    elsewhere = Workspace(settings).evaluation(DOMAINS, checkpoints[0])
    third = last_of(model.candidate, elsewhere)
    assert (model.num_loads, model.num_texts) == (1, 170)
    assert all(torch.equal(first[name], other[name]) for other in (second, third) for name in first)
    # One domain more computes that domain alone; another model computes all.
    more = workspace.evaluation([*DOMAINS, make_domain("films", 20, seed=3)], checkpoints[0])
    last_of(model.candidate, more)
    assert model.num_texts == 190
    other = CountingModel("another")
    last_of(other.candidate, more)
    assert other.num_texts == 190


def test_a_damaged_result_is_computed_again(evaluation, checkpoints, settings):
    model = CountingModel()
    expected = last_of(model.candidate, evaluation)
    files = list(settings.results_dir.glob("*.safetensors"))
    assert len(files) == len(DOMAINS)
    for file in files:
        file.write_bytes(file.read_bytes()[:-7])
    again = last_of(model.candidate, Workspace(settings).evaluation(DOMAINS, checkpoints[0]))
    assert model.num_texts == 2 * 170
    assert all(torch.equal(again[name], logits) for name, logits in expected.items())


def test_a_disk_that_refuses_results_is_reported_and_evaluation_goes_on(checkpoints, settings, monkeypatch, caplog):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fusion_ui.evaluation.store.save_file", refuse)
    model, evaluation = CountingModel(), Workspace(settings).evaluation(DOMAINS, checkpoints[0])
    assert len(last_of(model.candidate, evaluation)["news"]) == 130
    assert "the disk is full" in caplog.text
    last_of(model.candidate, evaluation)
    assert model.num_texts == 170  # remembered in memory
    assert list(settings.results_dir.glob("*")) == []


def test_stopping_between_batches_ends_at_once_and_keeps_what_was_computed(evaluation):
    progress, model = Progress(), CountingModel()
    evaluation = replace(evaluation, max_tokens=64)  # several batches a chunk
    steps = model.candidate.stream(evaluation, progress)
    next(steps)
    num_done = len(model.batches)
    model.before_batch = lambda number: progress.stop() if number == num_done else None
    with pytest.raises(StoppedError):
        list(steps)
    # The batch during which it was stopped was the last; the first chunk of both domains is remembered.
    assert len(model.batches) == num_done + 1
    known = evaluation.recall("counting")
    assert {name: len(logits) for name, logits in known.items()} == {"news": 8, "tweets": 8}
    model.before_batch, model.batches = lambda _: None, []
    assert len(last_of(model.candidate, evaluation)["news"]) == 130
    assert model.num_texts == 170 - 16


def test_stopping_before_the_start_loads_nothing(evaluation):
    model, progress = CountingModel(), Progress()
    progress.stop()
    with pytest.raises(StoppedError):
        list(model.candidate.stream(evaluation, progress))
    assert model.batches == []


@pytest.mark.parametrize("method", ["regmean", "simple_mean"])
def test_a_merge_in_memory_answers_as_the_exported_model_does(workspace, tmp_path: Path, method: str):
    # Older checkpoints store position ids, whole numbers that look up embeddings and must stay whole.
    positions = {"bert.embeddings.position_ids": torch.arange(32).reshape(1, 32)}
    models = [write_model(tmp_path / f"e{i}", tiny_bert(i), extra=positions) for i in range(2)]
    data = str(write_data(tmp_path / "data.csv"))
    experts = [{"name": m.name, "model": str(m), "calibration": {"data": data}} for m in models]
    plan = workspace.plan(parse_recipe({"method": method, "experts": experts}))
    evaluation = workspace.evaluation(DOMAINS, plan.experts[0])
    merged = last_of(workspace.candidate(plan), evaluation)
    workspace.export(plan, tmp_path / "out")
    exported = Checkpoint("out", tmp_path / "out", "test")
    expected = last_of(checkpoint_candidate("out", "Out", exported), evaluation)
    for name, logits in expected.items():
        torch.testing.assert_close(merged[name], logits, rtol=1e-4, atol=1e-5)


def test_a_sweep_gives_each_value_once_and_complete(workspace, checkpoints, tmp_path: Path):
    data = str(write_data(tmp_path / "data.csv"))
    experts = [{"name": c.name, "model": str(c.directory), "calibration": {"data": data}} for c in checkpoints]
    plan = workspace.plan(parse_recipe({"method": "regmean", "experts": experts}))
    evaluation = workspace.evaluation(DOMAINS, checkpoints[0])
    found = list(workspace.sweep(plan, "alpha", [0.0, 0.5, 1.0], evaluation, []))
    assert [value for value, _ in found] == [0.0, 0.5, 1.0]
    assert all(scores.is_complete for _, scores in found)
    single = list(workspace.evaluate([workspace.candidate(plan.with_parameters(alpha=0.5))], evaluation, []))[-1]
    assert single.scores == found[1][1].scores


@pytest.mark.parametrize("order", [[0.0, 1.0, 0.5], [0.9, 0.0]])
def test_the_first_point_of_a_sweep_does_not_wait_for_what_the_others_share(
    workspace, checkpoints, tmp_path: Path, monkeypatch, order
):
    data = str(write_data(tmp_path / "data.csv"))
    experts = [{"name": c.name, "model": str(c.directory), "calibration": {"data": data}} for c in checkpoints]
    plan = workspace.plan(parse_recipe({"method": "regmean", "experts": experts}))
    evaluation, shared = workspace.evaluation(DOMAINS, checkpoints[0]), []
    made_for = workspace._preparations.made_for

    @contextmanager
    def watched(plans, progress):
        with made_for(plans, progress):
            shared.append("made")
            yield
        shared.append("let go")

    monkeypatch.setattr(workspace._preparations, "made_for", watched)
    rows = workspace.sweep(plan, "alpha", order, evaluation, [], first=8)
    value, scores = next(rows)
    assert value == order[0] and not scores.is_complete and not shared
    value, _ = next(rows)
    assert value == order[1] and shared == ["made"], "the others come from one factorisation"
    complete = {value: scores for value, scores in rows if scores.is_complete}
    assert [*complete] == order and shared == ["made", "let go"]
    merged = workspace.candidate(plan.with_parameters(alpha=order[0]))
    [single] = [s for s in workspace.evaluate([merged], evaluation, []) if s.is_complete]
    assert single.scores == complete[order[0]].scores

    last = plan.with_parameters(alpha=0.3)
    next(iter(workspace.sweep(last, "alpha", [*order, 0.3], evaluation, [], first=8)))
    assert [v for v, _ in workspace.sweep(last, "alpha", [*order, 0.3], evaluation, [], first=8)] == [*order, 0.3, 0.3]
    assert shared == ["made", "let go"], "one value alone shares nothing"
