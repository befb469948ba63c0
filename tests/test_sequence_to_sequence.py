"""Models that write an answer: trained here on text with a known answer, merged, and scored by plain transformers."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generative_models import tiny_bart, tiny_t5, train, write_writer
from safetensors.torch import load_file, save_file

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.cli.application import main
from fusion_ui.domains.batches import make_batches
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import FusionError
from fusion_ui.evaluation.combined import ensemble_of
from fusion_ui.evaluation.references import expert_candidates
from fusion_ui.evaluation.typed_text import answer_examples, read_examples
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.methods import METHODS
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.tasks import find_task, load_model
from fusion_ui.tasks.sequence_to_sequence import SequenceToSequence
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.workspace import Workspace

GOOD, BAD = "w40 w41", "w42"
WORDS = {"books": range(0, 16), "films": range(16, 32)}
"""Each domain has its own words; the lower half of them is good."""


def make_rows(domain: str, num: int, seed: int) -> tuple[list[str], list[str]]:
    """Five words a text, four of them of its kind, which the answer names."""
    generator, words = random.Random(seed), WORDS[domain]
    is_good = [generator.random() < 0.5 for _ in range(num)]
    halves = [words[:8] if good else words[8:] for good in is_good]
    drawn = [[*generator.choices(half, k=4), generator.choice(words)] for half in halves]
    return [" ".join(f"w{w}" for w in text) for text in drawn], [GOOD if good else BAD for good in is_good]


def write_csv(path: Path, texts: Sequence[str], labels: Sequence[str]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, labels, strict=True)])
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two experts, the base they were trained from, and files of both domains."""
    root = tmp_path_factory.mktemp("seq2seq")
    base = tiny_t5(3, d_model=32, d_kv=16, d_ff=64)
    both = [make_rows(domain, 300, 1) for domain in WORDS]
    train(base, both[0][0] + both[1][0], both[0][1] + both[1][1], 60, 0)
    write_writer(root / "base", base, ends=True)
    for i, domain in enumerate(WORDS):
        expert = tiny_t5(3, d_model=32, d_kv=16, d_ff=64)
        expert.load_state_dict(base.state_dict())
        write_writer(root / domain, train(expert, *make_rows(domain, 300, 2), 60, i), ends=True)
        write_csv(root / f"{domain}-calibrate.csv", *make_rows(domain, 80, 3))
        write_csv(root / f"{domain}-report.csv", *make_rows(domain, 60, 4))
    return root


def make_recipe(
    folder: Path, method: str = "regmean", models: Sequence[str | Path] = ("books", "films"), **change: object
) -> MergeRecipe:
    experts = [
        {"name": domain, "model": str(folder / model), "calibration": {"data": str(folder / f"{domain}-calibrate.csv")}}
        for domain, model in zip(WORDS, models, strict=True)
    ]
    return parse_recipe({"method": method, "experts": experts, "statistics": {"num_examples": 40}} | change)


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace(settings)


def report(domain: str) -> Domain:
    return Domain(domain, domain, "report", *(tuple(part) for part in make_rows(domain, 60, 4)))


def write_plainly(directory: Path, texts: Sequence[str]) -> list[str]:
    """What plain transformers writes, one text at a time."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model, tokenizer = (kind.from_pretrained(directory) for kind in (AutoModelForSeq2SeqLM, AutoTokenizer))
    found = []
    for text in texts:
        ids = model.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=33, do_sample=False, num_beams=1)
        found.append(tokenizer.decode(ids[0], skip_special_tokens=True))
    return found


def macro_f1(truth: Sequence[str], said: Sequence[str]) -> float:
    values = []
    for label in {*truth, *said}:
        hits = sum(a == b == label for a, b in zip(truth, said, strict=True))
        values.append(2 * hits / (list(truth).count(label) + list(said).count(label)))
    return float(np.mean(values))


@pytest.mark.parametrize("method", [method.name for method in METHODS])
def test_the_merge_scores_what_plain_transformers_says_of_the_exported_model(folder, workspace, tmp_path, method: str):
    plan = workspace.plan(make_recipe(folder, method, base=str(folder / "base")))
    domains = [report(name) for name in WORDS]
    scores = [*workspace.evaluate([workspace.candidate(plan)], workspace.evaluation_of(domains, plan), [*WORDS])][-1]
    by_f1 = [replace(domain, metric="macro_f1") for domain in domains]
    f1 = [*workspace.evaluate([workspace.candidate(plan)], workspace.evaluation_of(by_f1, plan), [*WORDS])][-1]
    workspace.export(plan, tmp_path / "out")
    for score, f1_score, domain in zip(scores.scores, f1.scores, domains, strict=True):
        said = write_plainly(tmp_path / "out", domain.texts)
        assert (score.metric, f1_score.metric) == ("exact_match", "macro_f1")
        assert score.value == pytest.approx(np.mean([a == b for a, b in zip(said, domain.labels, strict=True)]))
        assert f1_score.value == pytest.approx(macro_f1(domain.labels, said))
        assert score.low <= score.value <= score.high
    if method == "regmean":
        assert scores.mean > 0.7  # against 0.5 by chance
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "id2label" not in config and (tmp_path / "out" / "generation_config.json").is_file()
    merged = json.loads((tmp_path / "out" / "merge_report.json").read_text())["parameters"]
    if method == "regmean":
        assert "output layer shares" in merged["shared.weight"]["reason"]
        assert merged["decoder.block.0.layer.1.EncDecAttention.k.weight"]["path"] != "mean"
        assert merged["decoder.block.0.layer.1.EncDecAttention.k.weight"]["reason"] == ""


def test_merging_identical_experts_returns_the_expert(folder, workspace):
    plan = workspace.plan(make_recipe(folder, models=("books", "books")))
    evaluation = workspace.evaluation_of([report(name) for name in WORDS], plan)
    merge, expert = workspace.candidate(plan), expert_candidates(plan)["books"]
    found = [[*workspace.evaluate([who], evaluation, [])][-1] for who in (merge, expert)]
    assert [s.value for s in found[0].scores] == [s.value for s in found[1].scores]
    assert found[1].scores[0].value > 0.8


def test_the_ensemble_is_a_vote_and_the_first_member_decides_a_tie():
    rows = torch.tensor([[[5.0, 6.0]], [[7.0, torch.nan]], [[7.0, torch.nan]]])

    class Words(Tokenizer):
        def __init__(self) -> None: ...

        def decode(self, ids: Sequence[int]) -> str:
            return " ".join(map(str, ids))

    task = SequenceToSequence(Words())
    assert task.combine(list(rows))[0, 0] == 7
    assert task.combine([rows[0], rows[1]])[0].tolist() == [5, 6]


def test_the_command_line_goes_all_the_way(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FUSION_UI_CACHE_DIR", str(tmp_path / "cache"))
    recipe = tmp_path / "recipe.json"
    recipe.write_text(make_recipe(folder).model_dump_json())
    data = [part for name in WORDS for part in ("--data", f"{name}={folder / f'{name}-report.csv'}")]

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0, capsys.readouterr().err
        return capsys.readouterr().out

    scores = json.loads(run("evaluate", str(recipe), *data, "--json"))["scores"]
    assert {score["metric"] for score in scores} == {"exact_match"}
    answers = json.loads(run("try", str(recipe), "w0 w1 w2 w3 w4", "--json"))["examples"][0]["models"]
    assert [model["answer"] for model in answers[1:2]] == [GOOD]
    assert all(model["probabilities"] == {} for model in answers)
    assert GOOD in run("try", str(recipe), "w0 w1 w2 w3 w4")
    assert "nan" not in run("flips", str(recipe), *data, "--against", "films")
    flips = json.loads(run("flips", str(recipe), *data, "--against", "films", "--json"))["flips"]
    assert {flip["answer"]["probability"] for flip in flips} == {None}
    assert "can be merged" in run("check", str(recipe))
    points = json.loads(run("sweep", str(recipe), *data, "--alpha", "0,0.9", "--json"))["points"]
    assert len(points) == 2
    run("merge", str(recipe), "--out", str(tmp_path / "out"))
    assert (
        json.loads(run("evaluate", str(tmp_path / "out"), *data, "--json"))["scores"][0]["value"] == scores[0]["value"]
    )
    out = tmp_path / "books.safetensors"
    run("stats", "--model", str(folder / "books"), "--data", str(folder / "books-calibrate.csv"), "--out", str(out))
    assert out.is_file()


def test_a_table_that_is_stored_twice_is_merged_once(folder, workspace, tmp_path):
    for domain in WORDS:
        (tmp_path / domain).mkdir()
        for file in (folder / domain).iterdir():
            (tmp_path / domain / file.name).write_bytes(file.read_bytes())
        weights = load_file(folder / domain / "model.safetensors")
        weights |= {
            name: weights["shared.weight"].clone() for name in ("lm_head.weight", "encoder.embed_tokens.weight")
        }
        save_file(weights, tmp_path / domain / "model.safetensors", metadata={"format": "pt"})
        (tmp_path / f"{domain}-calibrate.csv").write_bytes((folder / f"{domain}-calibrate.csv").read_bytes())
    plan = workspace.plan(make_recipe(tmp_path, "dare", base=str(folder / "base")))
    merged = workspace.merge(plan).tensors
    assert torch.equal(merged["lm_head.weight"], merged["shared.weight"])
    workspace.export(plan, tmp_path / "out")
    assert {found.name for found in workspace.examine(plan)} >= {"shared.weight"}
    books = report("books")
    scores = [*workspace.evaluate([workspace.candidate(plan)], workspace.evaluation_of([books], plan), [])][-1]
    said = write_plainly(tmp_path / "out", books.texts)
    assert scores.scores[0].value == np.mean([a == b for a, b in zip(said, books.labels, strict=True)])


def test_tables_that_only_some_models_tie_are_refused_with_a_sentence(folder, workspace, tmp_path):
    for domain in WORDS:
        change_config(folder / domain, tmp_path / domain)
        weights = load_file(folder / domain / "model.safetensors")
        weights["lm_head.weight"] = weights["shared.weight"] * (2.0 if domain == "films" else 1.0)
        save_file(weights, tmp_path / domain / "model.safetensors", metadata={"format": "pt"})
    tied_first = workspace.plan(make_recipe(folder, "simple_mean", (tmp_path / "books", tmp_path / "films")))
    evaluation = workspace.evaluation_of([report("books")], tied_first)
    with pytest.raises(FusionError, match=r"uses shared.weight for lm_head.weight too, and in the merge they differ"):
        [*workspace.evaluate([workspace.candidate(tied_first)], evaluation, [])]


def test_weights_given_to_a_module_are_those_that_write(folder):
    first, second = (Checkpoint(name, folder / name, name) for name in WORDS)
    model, other = load_model(first), load_model(second)
    tokenizer, task = Tokenizer(first, 64), find_task(first.config)
    encoded = task.encode(report("books"), range(20), tokenizer)
    before = {name: p.clone() for name, p in model.named_parameters()}
    for batch in make_batches(encoded, range(20), 0, 64):
        weights = {name: p.clone() for name, p in other.named_parameters()}
        borrowed, own = task.compute_rows(model, batch, weights), task.compute_rows(other, batch)
        assert torch.equal(borrowed.nan_to_num(-1), own.nan_to_num(-1))
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_bart_answers_like_plain_transformers(tmp_path, settings):
    write_writer(tmp_path / "bart", tiny_bart(5), ends=True)
    checkpoint, texts = Checkpoint("bart", tmp_path / "bart", "bart"), report("books").texts[:10]
    model, tokenizer, task = load_model(checkpoint), Tokenizer(checkpoint, 64), find_task(checkpoint.config)
    domain = Domain("x", "x", "x", texts, (GOOD,) * 10)
    said = [""] * 10
    for batch in make_batches(task.encode(domain, range(10), tokenizer), range(10), tokenizer.pad_id, 64):
        rows = task.compute_rows(model, batch)
        for i, answer in zip(batch.indices, task.read_answers(rows, (), tokenizer), strict=True):
            said[i] = answer.label
    assert said == write_plainly(tmp_path / "bart", texts)


def test_typed_text_is_answered_in_words(folder, workspace):
    plan = workspace.plan(make_recipe(folder))
    experts = [*expert_candidates(plan).values()]
    examples = read_examples("w0 w1 w2 w3 w4\nw8 w9 w10 w11 w12")
    found = answer_examples(examples, [*experts, ensemble_of(experts)], workspace.evaluation_of([], plan), Progress())
    assert [answer.label for answer in found.answers[0]] == [GOOD, BAD]
    assert found.describe()["examples"][0]["models"][0]["answer"] == GOOD


def change_config(source: Path, out: Path, file: str = "config.json", **change: object) -> Path:
    out.mkdir()
    for path in source.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    for name in {file, "generation_config.json"}:
        content = json.loads((out / name).read_text()) | change
        (out / name).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return out


def evaluate(workspace: Workspace, model: Path, *domains: Domain) -> None:
    checkpoint = Checkpoint(model.name, model, str(model))
    load_model(checkpoint)
    workspace.evaluation(domains, checkpoint)


def test_what_cannot_be_answered_ends_in_a_sentence(folder, workspace, tmp_path):
    books = folder / "books"
    text = ("w0 w1",)

    def domain(*labels: str) -> Domain:
        return Domain("reviews", "reviews", "report", text * max(1, len(labels)), labels)

    no_start = change_config(books, tmp_path / "a", decoder_start_token_id=None)
    with pytest.raises(FusionError, match=r"which token its answers begin with. Write decoder_start_token_id"):
        evaluate(workspace, no_start, domain(GOOD))
    no_end = change_config(books, tmp_path / "b", eos_token_id=None)
    with pytest.raises(FusionError, match=r"which token its answers end with. Write eos_token_id"):
        evaluate(workspace, no_end, domain(GOOD))
    for bad, match in (
        (domain(), "has no labels, so the texts that a model writes cannot be scored"),
        (domain(GOOD, "  "), "has an empty label"),
        (domain(GOOD, "a word that it lacks"), "which no answer can be: the tokenizer writes it as"),
        (domain(GOOD, "w1 " * 40), "it has 40 tokens, and answers are written up to 32"),
    ):
        with pytest.raises(FusionError, match=match):
            evaluate(workspace, books, bad)
    recipe = make_recipe(folder).model_dump()
    recipe["experts"][0]["calibration"]["label_column"] = None
    with pytest.raises(FusionError, match=r"has no labels. A model that writes text is measured while it reads"):
        workspace.merge(workspace.plan(parse_recipe(recipe)))
    recipe["experts"][0]["calibration"]["label_column"] = "answer"
    with pytest.raises(FusionError, match="has no column 'answer'"):
        workspace.plan(parse_recipe(recipe))
