"""Causal language models: trained here on words in a known order, merged, and scored by plain transformers."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generative_models import pad, tiny_gpt2_writer, tiny_llama, train, write_writer
from test_sequence_to_sequence import change_config
from tiny_models import VOCABULARY, random_texts

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.cli.application import main
from fusion_ui.domains.batches import Batch, make_batches
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import FusionError
from fusion_ui.evaluation.combined import ensemble_of
from fusion_ui.evaluation.references import expert_candidates
from fusion_ui.evaluation.typed_text import answer_examples, read_examples
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.methods import METHODS
from fusion_ui.progress import Progress
from fusion_ui.projects.building import add_domain, blank_project
from fusion_ui.projects.project import read_split
from fusion_ui.settings import Settings
from fusion_ui.tasks import find_task, likelihood, load_model
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.workspace import Workspace

CHOICES = ("w40 w41", "w42")
STEPS = {"up": 1, "down": -1}
"""Domain -> how one word follows from the one before it."""


def make_texts(domain: str, num: int, seed: int) -> list[str]:
    """Six words that count up or down from a random one."""
    generator = random.Random(seed)
    starts = [generator.randrange(20) for _ in range(num)]
    return [" ".join(f"w{(start + STEPS[domain] * i) % 20}" for i in range(6)) for start in starts]


def make_choices(domain: str, num: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts, and the words that follow them: by where a text starts."""
    texts = make_texts(domain, num, seed)
    return texts, [CHOICES[int(text.split()[0][1:]) >= 10] for text in texts]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two experts and files of both domains, with and without labels."""
    root = tmp_path_factory.mktemp("causal")
    base = tiny_gpt2_writer(3)
    write_writer(root / "base", base, pads=False)
    for i, domain in enumerate(STEPS):
        texts, labels = make_choices(domain, 200, 1)
        expert = tiny_gpt2_writer(3)
        expert.load_state_dict(base.state_dict())
        whole = [f"{text} {label}" for text, label in zip(texts, labels, strict=True)]
        write_writer(root / domain, train(expert, whole, (), 100, i), pads=False)
        (root / f"{domain}-calibrate.csv").write_text("\n".join(["text", *make_texts(domain, 60, 3)]))
        texts, labels = make_choices(domain, 60, 4)
        (root / f"{domain}-report.csv").write_text("\n".join(["text", *texts]))
        rows = [f"{text},{label}" for text, label in zip(texts, labels, strict=True)]
        (root / f"{domain}-choices.csv").write_text("\n".join(["text,label", *rows]))
    return root


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace(settings)


def make_recipe(folder: Path, method: str = "regmean", models: Sequence[str] = tuple(STEPS)) -> MergeRecipe:
    experts = [
        {"name": domain, "model": str(folder / model), "calibration": {"data": str(folder / f"{domain}-calibrate.csv")}}
        for domain, model in zip(STEPS, models, strict=True)
    ]
    about = {"base": str(folder / "base"), "statistics": {"num_examples": 40}}
    return parse_recipe({"method": method, "experts": experts} | about)


def text_domain(name: str, metric: str | None = None) -> Domain:
    return Domain(name, name, "report", tuple(make_choices(name, 60, 4)[0]), (), metric=metric)


def choice_domain(name: str) -> Domain:
    return Domain(name, name, "report", *(tuple(part) for part in make_choices(name, 60, 4)))


def score_plainly(directory: Path, texts: Sequence[str]) -> tuple[float, float]:
    """Perplexity and next-token accuracy by plain transformers, one text at a time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (kind.from_pretrained(directory) for kind in (AutoModelForCausalLM, AutoTokenizer))
    loss, right, total = 0.0, 0, 0
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            found = model(input_ids=ids, labels=ids)
        count = ids.shape[1] - 1
        loss, total = loss + float(found.loss) * count, total + count
        right += int((found.logits[0, :-1].argmax(-1) == ids[0, 1:]).sum())
    return math.exp(loss / total), right / total


def choose_plainly(directory: Path, texts: Sequence[str]) -> list[str]:
    """The likelier choice by plain transformers, from the loss of whole texts less that of the texts alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (kind.from_pretrained(directory) for kind in (AutoModelForCausalLM, AutoTokenizer))

    def likelihood_of(text: str) -> float:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            return -float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)

    return [max(CHOICES, key=lambda c: likelihood_of(f"{t} {c}") - likelihood_of(t)) for t in texts]


def scores_of(workspace: Workspace, plan, domains: Sequence[Domain]):
    evaluation = workspace.evaluation_of(domains, plan)
    return [*workspace.evaluate([workspace.candidate(plan)], evaluation, [])][-1].scores


@pytest.mark.parametrize("method", [method.name for method in METHODS])
def test_the_merge_scores_what_plain_transformers_says_of_the_exported_model(folder, workspace, tmp_path, method: str):
    plan = workspace.plan(make_recipe(folder, method))
    workspace.export(plan, tmp_path / "out")
    plain = scores_of(workspace, plan, [text_domain(name) for name in STEPS])
    by_perplexity = scores_of(workspace, plan, [text_domain(name, "perplexity") for name in STEPS])
    chosen = scores_of(workspace, plan, [choice_domain(name) for name in STEPS])
    for name, accuracy, perplexity, choice in zip(STEPS, plain, by_perplexity, chosen, strict=True):
        texts, labels = make_choices(name, 60, 4)
        expected = score_plainly(tmp_path / "out", texts)
        assert (accuracy.metric, perplexity.metric, choice.metric) == ("next_token_accuracy", "perplexity", "accuracy")
        assert perplexity.is_smaller_better and not accuracy.is_smaller_better
        assert perplexity.value == pytest.approx(expected[0], rel=1e-5)
        assert accuracy.value == pytest.approx(expected[1])
        said = choose_plainly(tmp_path / "out", texts)
        assert choice.value == pytest.approx(np.mean([a == b for a, b in zip(said, labels, strict=True)]))
        assert perplexity.low <= perplexity.value <= perplexity.high
    if method == "regmean":
        report = json.loads((tmp_path / "out" / "merge_report.json").read_text())["parameters"]
        assert "output layer shares" in report["transformer.wte.weight"]["reason"]
        assert report["transformer.wpe.weight"]["reason"] == "not the weight of a linear layer"


def test_merging_identical_experts_returns_the_expert(folder, workspace):
    plan = workspace.plan(make_recipe(folder, models=("up", "up")))
    for make in (text_domain, choice_domain):
        evaluation = workspace.evaluation_of([make("up")], plan)
        candidates = workspace.candidate(plan), expert_candidates(plan)["up"]
        merged, expert = ([*workspace.evaluate([who], evaluation, [])][-1].scores[0] for who in candidates)
        assert merged == expert and expert.value > 0.8


def test_of_perplexities_the_smallest_is_best(folder, workspace):
    plan = workspace.plan(make_recipe(folder))
    evaluation = workspace.evaluation_of([text_domain("up", "perplexity")], plan)
    rows = {}
    for name, expert in expert_candidates(plan).items():
        rows[name] = [*workspace.evaluate([expert], evaluation, [])][-1]
    assert rows["up"].mean < rows["down"].mean
    assert rows["up"].merit > rows["down"].merit
    search = workspace.find_best(plan, "alpha", [0.0, 1.0], evaluation, [])
    while True:
        try:
            next(search)
        except StopIteration as end:
            outcome = end.value.outcome
            break
    assert outcome.top.scores.mean == min(row.scores.mean for row in outcome.rows)


def test_padding_and_the_split_of_a_batch_change_no_row(tmp_path, monkeypatch):
    checkpoint = Checkpoint("llama", write_writer(tmp_path / "llama", tiny_llama(1)), "llama")
    model, tokenizer, task = load_model(checkpoint), Tokenizer(checkpoint, 40), find_task(checkpoint.config)
    domain = Domain("x", "x", "x", random_texts(9, 2), ())
    encoded = task.encode(domain, range(9), tokenizer)

    def rows(max_tokens: int) -> torch.Tensor:
        found = torch.empty(9, 3)
        for batch in make_batches(encoded, range(9), 0, max_tokens):
            found[list(batch.indices)] = task.compute_rows(model, batch)
        return found

    alone = rows(1)
    torch.testing.assert_close(rows(10**6), alone, rtol=1e-5, atol=1e-4)
    monkeypatch.setattr(likelihood, "MAX_LOGITS", 1)
    torch.testing.assert_close(rows(10**6), alone, rtol=1e-5, atol=1e-4)
    ids, mask = pad([text.ids for text in encoded], is_left=True)
    left = Batch(tuple(range(9)), ids, mask)
    torch.testing.assert_close(task.compute_rows(model, left), alone, rtol=1e-5, atol=1e-4)


def test_the_ensemble_is_refused_for_text_and_averages_the_probabilities_of_choices(folder, workspace):
    plan = workspace.plan(make_recipe(folder))
    experts = [*expert_candidates(plan).values()]
    with pytest.raises(FusionError, match="leave the ensemble out"):
        [*workspace.evaluate([ensemble_of(experts)], workspace.evaluation_of([text_domain("up")], plan), [])]
    evaluation = workspace.evaluation_of([choice_domain("up")], plan)
    task = evaluation.domains[0].task
    members = [[*expert.stream(evaluation, Progress())][-1]["up"] for expert in experts]
    expected = sum(rows.softmax(-1) for rows in members) / 2
    torch.testing.assert_close(task.combine(members).exp(), expected)


def test_typed_text_is_continued(folder, workspace):
    plan = workspace.plan(make_recipe(folder))
    examples = read_examples("w3 w4 w5\nw11")
    found = answer_examples(
        examples, [*expert_candidates(plan).values()], workspace.evaluation_of([], plan), Progress()
    )
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder / "up")
    ids = torch.tensor([[VOCABULARY.index(f"w{i}") for i in (3, 4, 5)]])
    written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False)[0, 3:]
    words = [VOCABULARY[i] for i in written.tolist()]
    assert found.answers[0][0].label.split() == [w for w in words if not w.startswith("[")]
    assert words[:2] == ["w6", "w7"]


def test_the_command_line_goes_all_the_way(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FUSION_UI_CACHE_DIR", str(tmp_path / "cache"))
    recipe = tmp_path / "recipe.json"
    recipe.write_text(make_recipe(folder).model_dump_json())
    text, choices = (
        [part for name in STEPS for part in ("--data", f"{name}={folder / f'{name}-{kind}.csv'}")]
        for kind in ("report", "choices")
    )

    def run(*arguments: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        captured = capsys.readouterr()
        assert end.value.code == code, captured.err
        return captured.err if code else captured.out

    found = json.loads(run("evaluate", str(recipe), *text, "--label-column", "", "--json"))["scores"]
    assert {score["metric"] for score in found} == {"next_token_accuracy"}
    found = json.loads(run("evaluate", str(recipe), *choices, "--json"))["scores"]
    assert {score["metric"] for score in found} == {"accuracy"}
    assert "Ensemble" not in run("try", str(recipe), "w3 w4 w5")
    assert "labelled text" in run("flips", str(recipe), *text, "--label-column", "", code=2)
    assert CHOICES[0] in run("flips", str(recipe), *choices, "--against", "up")
    run("merge", str(recipe), "--out", str(tmp_path / "out"))
    run("sweep", str(recipe), *text, "--label-column", "", "--alpha", "0,1")
    data, out = str(folder / "up-calibrate.csv"), str(tmp_path / "up.safetensors")
    run("stats", "--model", str(folder / "up"), "--data", data, "--label-column", "", "--out", out)


def test_what_cannot_be_answered_ends_in_a_sentence(folder, workspace, tmp_path):
    up = Checkpoint("up", folder / "up", "up")

    def evaluate(texts: Sequence[str], labels: Sequence[str] = ()) -> None:
        workspace.evaluation([Domain("reviews", "reviews", "report", tuple(texts), tuple(labels))], up)

    with pytest.raises(FusionError, match="No text of the domain reviews has two tokens"):
        evaluate(["w1", "w2"])
    with pytest.raises(FusionError, match=r"has 21 different labels .* and 20 is the most"):
        evaluate(["w1 w2"] * 21, [f"w{i}" for i in range(21)])
    with pytest.raises(FusionError, match="'zebra', which has the same tokens as 'quagga'"):
        evaluate(["w1 w2"] * 2, ["zebra", "quagga"])
    with pytest.raises(FusionError, match="of 50 tokens, and 1 to 39 can follow a text"):
        evaluate(["w1 w2"] * 2, ["w1 " * 50, "w2"])
    evaluate(["w1 " * 100, "w2 w3"])  # cut at the positions that the model has
    evaluate(["w1 " * 100, "w2 w3"], ["w5", "w6 w7"])
    no_end = Checkpoint("no_end", change_config(folder / "up", tmp_path / "no_end", eos_token_id=None), "no_end")
    load_model(no_end)  # an end is needed by nobody who scores text, nor is padding
    assert workspace.evaluation([text_domain("up")], no_end).tokenizer.pad_id == 0


def test_the_choices_are_the_domains_and_not_those_that_happen_to_be_measured(
    folder, workspace, tmp_path, capsys, monkeypatch
):
    texts, labels = make_choices("up", 60, 4)
    rows = [(text, label) for text, label in zip(texts, labels, strict=True) if label == CHOICES[0]]
    one_label = tmp_path / "up.csv"
    one_label.write_text("\n".join(["text,label", *(f"{text},{label}" for text, label in rows)]))
    domain = load_domain(one_label, "up")
    alone = workspace.evaluation([domain], Checkpoint("down", folder / "down", "down")).domains[0]
    assert alone.task.choices == CHOICES[:1], "nothing else is known of it"

    calibrate = tmp_path / "calibrate.csv"
    calibrate.write_text((folder / "up-choices.csv").read_text())
    said = choose_plainly(folder / "down", [text for text, _ in rows])
    expected = np.mean([answer == CHOICES[0] for answer in said])
    assert 0 < expected < 1, "a choice of one is always right, and this would show nothing"
    for method in ("regmean", "simple_mean"):  # of which only one reads the calibration text
        recipe = make_recipe(folder, method, ("down", "down")).model_dump(mode="json")
        recipe["experts"][0]["calibration"]["data"] = str(calibrate)
        plan = workspace.plan(parse_recipe(recipe))
        assert scores_of(workspace, plan, [domain])[0].value == pytest.approx(expected), method

    monkeypatch.setenv("FUSION_UI_CACHE_DIR", str(tmp_path / "cache"))
    ask = ["evaluate", str(folder / "down"), "--data", f"up={one_label}", "--json"]
    for choices, accuracy in (([], 1.0), ([f"--choice={CHOICES[1]}"], expected)):
        with pytest.raises(SystemExit) as end:
            main([*ask, *choices])
        assert end.value.code == 0
        assert json.loads(capsys.readouterr().out)["scores"][0]["value"] == pytest.approx(accuracy)


def test_every_split_of_a_projects_domain_has_the_same_choices(folder, workspace, tmp_path):
    texts = [f"w{i} w{i + 1} w{i + 2}" for i in range(40)]
    labels = ["w40" if i == 7 else CHOICES[i % 2] for i in range(40)]
    source = Domain("up", "up", "all", tuple(texts), tuple(labels))
    project, _ = add_domain(replace(blank_project(), experts=()), "up", source, tmp_path / "text")
    splits = [read_split(project.domains[0], split) for split in ("calibrate", "select", "report")]
    assert sum("w40" in split.labels for split in splits) == 1, "the rare label is in one of them"
    up = Checkpoint("up", folder / "up", "up")
    for split in splits:
        (encoded,) = workspace.evaluation([split], up).domains
        assert encoded.task.choices == tuple(sorted({*CHOICES, "w40"})), split.split
    named = replace(project.domains[0], labels=(("w40", "w41"),))
    assert all(read_split(named, split).all_choices == (*CHOICES[:1], "w41", CHOICES[1]) for split in ("report",))
    bare = replace(splits[0], choices=())
    assert len({replace(bare, choices=c).fingerprint for c in ((), CHOICES, (*CHOICES, "w45"))}) == 2
