"""Models that tag words: alignment, entities, scores and merges against plain transformers and seqeval itself."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from tiny_taggers import Sentence, make_sentences, tags_of, write_sentences, write_tagger
from torch import Tensor

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.finding import find_checkpoint
from fusion_ui.checkpoints.trial import try_in_child
from fusion_ui.domains.batches import make_batches
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.items import join_items
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import CheckpointError, DomainError, FusionError
from fusion_ui.evaluation.candidates import checkpoint_candidate
from fusion_ui.evaluation.combined import ensemble_of
from fusion_ui.evaluation.comparison import CandidateScores
from fusion_ui.evaluation.flips import find_flips
from fusion_ui.evaluation.typed_text import answer_examples, read_examples
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.methods import METHODS
from fusion_ui.progress import Progress
from fusion_ui.results.card import model_card
from fusion_ui.statistics.fisher import accumulate_fisher
from fusion_ui.statistics.gram import accumulate_grams
from fusion_ui.tasks import find_task, load_model
from fusion_ui.tasks.entities import entity_tags
from fusion_ui.tasks.token_classification import TokenClassification
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.tasks.word_metrics import entity_f1
from fusion_ui.workspace import Workspace

TASK = TokenClassification()
PLACES, LATIN = tags_of("per", "loc"), tags_of("org", "per")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two experts of one base that know other kinds of entities, and text of both."""
    folder = tmp_path_factory.mktemp("taggers")
    base = write_tagger(folder / "base", PLACES, seed=5)
    for name, kinds, seed in (("places", ("per", "loc"), 1), ("firms", ("org", "per"), 2)):
        write_tagger(folder / name, tags_of(*kinds), make_sentences(320, kinds, seed), start=base)
        write_sentences(folder / f"{name}.jsonl", make_sentences(60, kinds, 10 + seed))
        write_sentences(folder / f"{name}_calibration.jsonl", make_sentences(40, kinds, 20 + seed))
    return folder


@pytest.fixture
def workspace(settings) -> Workspace:
    return Workspace(settings)


def recipe_of(folder: Path, names: Sequence[str] = ("places", "firms"), **change: object) -> MergeRecipe:
    experts = [
        {"name": f"{name}{i}" if names.count(name) > 1 else name, "model": str(folder / name)}
        | {"calibration": {"data": str(folder / f"{name}_calibration.jsonl")}}
        for i, name in enumerate(names)
    ]
    return parse_recipe({"method": "regmean", "experts": experts, "heads": "union"} | change)


def text_of(folder: Path, name: str) -> Domain:
    return load_domain(folder / f"{name}.jsonl", name)


def sentences_of(folder: Path, name: str) -> list[Sentence]:
    rows = map(json.loads, (folder / f"{name}.jsonl").read_text("utf-8").splitlines())
    return [(row["text"], row["label"]) for row in rows]


def scores_of(workspace: Workspace, plan, domains: list[Domain]) -> CandidateScores:
    evaluation = workspace.evaluation_of(domains, plan)
    *_, last = workspace.evaluate([workspace.candidate(plan)], evaluation, [d.name for d in domains])
    return last


def tags_by_transformers(directory: Path, sentences: Sequence[Sentence]) -> list[list[str]]:
    """What a saved model says to each sentence, one by one, by nothing but transformers."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    model, tokenizer = (kind.from_pretrained(directory) for kind in (AutoModelForTokenClassification, AutoTokenizer))
    answers = []
    for words, _ in sentences:
        encoded = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            chosen = model.eval()(**encoded).logits[0].argmax(-1).tolist()
        of_words: dict[int, str] = {}
        for token, word in enumerate(encoded.word_ids()):
            if word is not None:
                of_words.setdefault(word, model.config.id2label[chosen[token]])
        answers.append([of_words[i] for i in range(len(words))])
    return answers


@pytest.mark.parametrize("method", [method.name for method in METHODS])
def test_a_merge_scores_what_an_independent_script_finds_in_its_folder(folder, workspace, tmp_path, method):
    plan = workspace.plan(recipe_of(folder, method=method, base=str(folder / "base")))
    assert plan.labels.names == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")
    workspace.export(plan, tmp_path / "out")
    for name in ("places", "firms"):
        sentences = sentences_of(folder, name)
        answers = tags_by_transformers(tmp_path / "out", sentences)
        (score,) = scores_of(workspace, plan, [text_of(folder, name)]).scores
        assert score.value == pytest.approx(f1_score([tags for _, tags in sentences], answers), abs=1e-12)
        assert (score.metric, score.low <= score.value <= score.high) == ("entity_f1", True)
        assert score.num_correct == sum(tags == answer for (_, tags), answer in zip(sentences, answers, strict=True))
    assert 'pipeline("token-classification"' in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_experts_have_learned_and_a_merge_is_not_one_of_them(folder, workspace):
    plan = workspace.plan(recipe_of(folder))
    domains = [text_of(folder, "places"), text_of(folder, "firms")]
    evaluation = workspace.evaluation_of(domains, plan)
    own = [checkpoint_candidate(e.name, e.name, e, skeleton=plan.experts[0]) for e in plan.experts]
    found = {}
    for scored in workspace.evaluate([*own, ensemble_of(own)], evaluation, []):
        found[scored.candidate.name] = [score.value for score in scored.scores]
    assert min(found["places"][0], found["firms"][1]) > 0.6
    assert found["places"][1] < found["firms"][1] and found["firms"][0] < found["places"][0]
    members = [own[0].answer(evaluation, 60, Progress()), own[1].answer(evaluation, 60, Progress())]
    together = ensemble_of(own).answer(evaluation, 60, Progress())["firms"]
    places, firms = (logits["firms"] for logits in members)
    known = evaluation.label_names.index("B-LOC"), evaluation.label_names.index("B-PER")
    assert torch.equal(together[..., known[0]].nan_to_num(9.0), places[..., known[0]].nan_to_num(9.0))
    assert torch.allclose(together[..., known[1]], (places + firms)[..., known[1]] / 2, equal_nan=True)


def test_merging_identical_experts_gives_the_experts_score_exactly(folder, workspace):
    plan = workspace.plan(recipe_of(folder, ["places", "places"], method="simple_mean"))
    evaluation = workspace.evaluation_of([text_of(folder, "places")], plan)
    alone = checkpoint_candidate("alone", "alone", plan.experts[0])
    *_, expert = workspace.evaluate([alone], evaluation, [])
    assert scores_of(workspace, plan, [text_of(folder, "places")]).scores[0].value == expert.scores[0].value


def test_own_heads_answer_the_domains_whose_labels_they_know(folder, workspace, tmp_path):
    plan = workspace.plan(recipe_of(folder, heads="own"))
    first, second = (replace(text_of(folder, name), name=f"text {name}") for name in ("places", "firms"))
    workspace.export(plan, tmp_path / "out")
    for domain, name in ((first, "places"), (second, "firms")):
        sentences = sentences_of(folder, name)
        answers = tags_by_transformers(tmp_path / "out" / name, sentences)
        (score,) = scores_of(workspace, plan, [domain]).scores
        assert score.value == pytest.approx(f1_score([tags for _, tags in sentences], answers), abs=1e-12)


def test_tags_are_matched_by_name_and_numbers_by_the_own_experts_order(folder, workspace):
    plan = workspace.plan(recipe_of(folder))
    domain = text_of(folder, "firms")
    numbers = [join_items([LATIN.index(tag) for tag in tags]) for _, tags in sentences_of(folder, "firms")]
    spelled = [label.replace("B-", "b-") for label in domain.labels]
    expected = workspace.evaluation_of([domain], plan).domains[0].targets
    for labels in (numbers, spelled):
        assert workspace.evaluation_of([replace(domain, labels=tuple(labels))], plan).domains[0].targets == expected


def test_grams_are_those_of_every_real_token_alone(folder):
    checkpoint = Checkpoint("places", folder / "places", "places")
    tokenizer = Tokenizer(checkpoint, 32)
    texts = TASK.encode(text_of(folder, "places"), range(30), tokenizer)
    model = load_model(checkpoint)
    batches = list(make_batches(texts, range(len(texts)), tokenizer.pad_id, 200))
    grams, inputs = accumulate_grams(model, batches, False, Progress())
    for weight, (expected, _) in oracles.grams_by_loop(model, [text.ids for text in texts]).items():
        found = grams[inputs[weight].tensor].double().numpy()
        assert abs(found - expected).max() <= 1e-6 * abs(expected).max(), weight


def test_fisher_information_is_that_of_all_tags_of_the_sentence_together(folder):
    """By brute force: the mean of squared gradients of log p(y|x) over all 25 ways to tag two words."""
    checkpoint = Checkpoint("places", folder / "places", "places")
    model, tokenizer = load_model(checkpoint), Tokenizer(checkpoint, 32)
    domain = Domain("x", "x", "x", (join_items(["pako", "", "lamu"]),), ())
    (text,) = TASK.encode(domain, [0], tokenizer)
    found = accumulate_fisher(TASK, model, [text], Progress())
    places = [place for place in text.words if place >= 0]
    assert len(places) == 2 and len(text.ids) == 6
    parameters = {name: p.requires_grad_() for name, p in model.named_parameters()}
    rows = model(input_ids=torch.tensor([text.ids])).logits[0, places].log_softmax(-1)
    expected: dict[str, Tensor] = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for tags in product(range(len(PLACES)), repeat=2):
        likelihood = rows[0, tags[0]] + rows[1, tags[1]]
        gradients = torch.autograd.grad(likelihood, list(parameters.values()), retain_graph=True, allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            expected[name] += 0 if gradient is None else likelihood.detach().exp() * gradient**2
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-7, msg=name)


TAGS = [f"{place}-{kind}" for place in "BIES" for kind in ("PER", "LOC", "part-of")] + ["O"]
tagged = st.lists(st.lists(st.tuples(*[st.integers(0, len(TAGS) - 1)] * 2), min_size=1, max_size=8), min_size=1)


@given(sentences=tagged)
def test_f1_of_summed_counts_is_seqevals_on_the_whole_set(sentences: list[list[tuple[int, int]]]):
    longest = max(map(len, sentences))
    rows = torch.full((len(sentences), longest, len(TAGS)), torch.nan)
    for row, words in zip(rows, sentences, strict=True):
        for place, (_, answer) in zip(row, words, strict=False):
            place[:] = torch.arange(len(TAGS)) == answer
    targets = [tuple(true for true, _ in words) for words in sentences]
    metric = entity_f1(tuple(TAGS))
    true, answers = ([[TAGS[pair[side]] for pair in words] for words in sentences] for side in (0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval's, where nothing is marked
        expected = f1_score(true, answers)
    assert metric.score(rows, targets).value == pytest.approx(expected, abs=1e-12)
    counts = metric.count(rows, targets)
    assert counts.shape == (len(sentences), 9)
    right = [tags == answer for tags, answer in zip(true, answers, strict=True)]
    assert TASK.find_right(rows, targets).tolist() == right


def test_words_are_read_at_their_first_tokens(folder):
    tokenizer = Tokenizer(Checkpoint("places", folder / "places", "places"), 32)
    (text,) = tokenizer.encode_words([["pakomu", "\u200b", "la", "Tika,"]])
    assert text.words == (1, -1, 4, 5), "a word that makes no token has no place, and a comma is part of its word"
    cut = Tokenizer(Checkpoint("places", folder / "places", "places"), 5)
    assert cut.encode_words([["pakomu", "la", "ti"]])[0].words == (1, -1, -1)


def test_what_is_cut_off_is_not_scored_and_said_to_be_unread(folder, workspace):
    checkpoint = Checkpoint("places", folder / "places", "places")
    sentence = make_sentences(1, ("per", "loc"), 3)[0]
    words, tags = sentence[0] * 20, sentence[1] * 20
    domain = Domain("long", "long", "x", (join_items(words),), (join_items(tags),))
    evaluation = workspace.evaluation([domain], checkpoint)
    rows = checkpoint_candidate("a", "a", checkpoint).answer(evaluation, 1, Progress())["long"]
    read = ~rows[0].isnan().all(-1)
    num_read = int(read.sum())
    assert 0 < num_read < len(words) and read[:num_read].all()
    chosen = [PLACES[i] for i in rows[0, :num_read].argmax(-1).tolist()]
    encoded = evaluation.domains[0]
    assert encoded.metric.score(rows, encoded.targets).value == pytest.approx(f1_score([tags[:num_read]], [chosen]))
    assert TASK.find_metric("word_accuracy").score(rows, encoded.targets).value == pytest.approx(
        sum(a == b for a, b in zip(chosen, tags, strict=False)) / num_read
    )
    (answer,) = TASK.read_answers(rows, PLACES, evaluation.tokenizer)
    assert answer.label == join_items(chosen) and 0 < answer.probability < 1


def test_byte_level_words_begin_with_a_space(tmp_path):
    from tokenizers import pre_tokenizers
    from transformers import GPT2Config, GPT2ForTokenClassification, GPT2Tokenizer

    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>", "ĠE"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    GPT2Tokenizer(vocab=vocabulary, merges=[("Ġ", "E")]).save_pretrained(tmp_path)
    GPT2ForTokenClassification(GPT2Config(vocab_size=300, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    (text,) = Tokenizer(Checkpoint("a", tmp_path, "a"), 32).encode_words([["EU", "Er"]])
    assert [pieces[i] for i in text.ids] == ["ĠE", "U", "ĠE", "r"] and text.words == (0, 2)


def test_flips_are_sentences_whose_tags_differ_said_with_their_words(folder, workspace):
    checkpoint = Checkpoint("places", folder / "places", "places")
    words = ["pa", "ti", "lo", "li"]
    domain = Domain("x", "x", "x", (join_items(words),), (join_items(["B-PER", "O", "B-LOC", "I-LOC"]),))
    evaluation = workspace.evaluation([domain], checkpoint)
    right = torch.nn.functional.one_hot(torch.tensor([[1, 0, 3, 4]]), 5).float()
    wrong = torch.nn.functional.one_hot(torch.tensor([[1, 0, 3, 3]]), 5).float()
    report = find_flips({"x": right}, {"x": wrong}, evaluation)
    (flip,) = report.flips
    assert (flip.text, flip.label) == ("pa ti lo li", "pa B-PER · lo B-LOC li I-LOC")
    assert (flip.answer.label, flip.other.label) == (flip.label, "pa B-PER · lo B-LOC li B-LOC")
    assert flip.kind == "fixed" and find_flips({"x": right}, {"x": right}, evaluation).flips == ()


def test_typed_sentences_are_answered_by_words_and_tags(folder, workspace):
    plan = workspace.plan(recipe_of(folder))
    experts = [checkpoint_candidate(e.name, e.name, e, skeleton=plan.experts[0]) for e in plan.experts]
    examples = read_examples("pako ti lamu\nti ti")
    models, evaluation = [workspace.candidate(plan), *experts], workspace.evaluation_of([], plan)
    found = answer_examples(examples, models, evaluation, Progress())
    described = found.describe()
    assert described["labels"] == [] and len(found.models) == 3
    answers = tags_by_transformers(folder / "places", [(e.text.split(), []) for e in examples])
    said = described["examples"][0]["models"][1]
    assert (said["name"], said["probabilities"]) == ("places", {})
    assert said["answer"] == TASK.explain("pako ti lamu", join_items(answers[0]))
    assert all(tag == "O" for tag in answers[1]) == (
        described["examples"][1]["models"][1]["answer"] == "no word tagged"
    )
    with pytest.raises(DomainError, match="has pairs, and words are tagged in one text"):
        answer_examples(read_examples("pa\tla"), experts, evaluation, Progress())


def test_what_comes_from_outside_is_tried_as_what_it_is(folder, tmp_path):
    try_in_child(folder / "places", seconds=300)
    broken = write_tagger(tmp_path / "broken", PLACES)
    config = json.loads((broken / "config.json").read_text("utf-8"))
    config["id2label"]["5"] = "B-ORG"
    config["label2id"]["B-ORG"] = 5
    (broken / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(CheckpointError, match=r"classifier\.\w+ has the shape"):
        try_in_child(broken, seconds=300)


def example(words: object, tags: object) -> Domain:
    text, label = (join_items(part) if isinstance(part, list) else str(part) for part in (words, tags))
    return Domain("news", "News", "x", ("fine", text), ("O", label))


BROKEN = {
    "fewer tags than words": (example(["pa", "ti"], ["O"]), PLACES, "Example 2 of the domain news has 2 words and 1"),
    "more tags than words": (example(["pa"], ["O", "O"]), PLACES, "has 1 words and 2 labels: 'pa' and 'O O'. Give"),
    "text that is no list": (example("pa, ti.", ["O"] * 4), PLACES, "is no list, so it was cut into words at spaces"),
    "one label a sentence": (example(["pa", "ti"], "positive"), PLACES, "has 2 words and 1 labels"),
    "no words": (example(["", " "], ["O", "O"]), PLACES, "Example 2 of the domain news has no words"),
    "an unknown tag": (example(["pa"], ["B-ORG"]), PLACES, "has the label 'B-ORG', which the model does not know"),
    "a number out of range": (example(["pa"], ["7"]), ("0", "1"), "has the label '7', 'O', which"),
    "pairs": (replace(example(["pa"], ["O"]), pairs=("a", "b")), PLACES, "has pairs, and words are tagged in one text"),
    "F1 without entities": (
        replace(example(["pa"], ["O"]), metric="entity_f1"),
        ("O", "NOUN"),
        r"O, NOUN are not tags of entities .* Choose word_accuracy",
    ),
    "a metric of other tasks": (
        replace(example(["pa"], ["O"]), metric="accuracy"),
        PLACES,
        "no metric 'accuracy'. Choose one of: entity_f1, word_accuracy",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_tagged_is_refused_with_a_sentence(folder, workspace, case: str):
    domain, labels, message = BROKEN[case]
    with pytest.raises(DomainError, match=message) as error:
        workspace.evaluation([domain], Checkpoint("places", folder / "places", "places"), labels)
    assert str(error.value).endswith(".") and "\x1f" not in str(error.value)


def test_a_text_classifier_refuses_words_and_lists_of_labels(workspace, tmp_path):
    from tiny_models import tiny_bert, write_model

    model = Checkpoint("a", write_model(tmp_path, tiny_bert()), "a")
    for text, label, message in (
        (join_items(["w1", "w2"]), "positive", "has a list where a text is needed: 'w1 w2'. Choose another column"),
        ("w1", join_items(["positive"]), "has a list where one label is needed: 'positive'. Choose another label"),
    ):
        with pytest.raises(FusionError, match=message):
            workspace.evaluation([Domain("x", "x", "x", (text,), (label,))], model)


def test_a_tokenizer_that_knows_no_words_is_named(folder, monkeypatch):
    tokenizer = Tokenizer(Checkpoint("places", folder / "places", "places"), 32)
    monkeypatch.setattr(type(tokenizer._tokenizer), "is_fast", False)
    with pytest.raises(CheckpointError, match=r"The tokenizer of places does not say .* Save the model with a fast"):
        tokenizer.encode_words([["pa"]])


def test_sentences_on_odd_label_sets():
    assert TASK.check_labels(PLACES) == []
    assert TASK.check_labels(("B-LOC", "I-LOC", "I-PER", "O")) == [
        "It knows I-PER and no B-PER: two such entities side by side are read as one."
    ]
    assert re.search("words are scored one by one", TASK.check_labels(("LABEL_0", "LABEL_1"))[0])
    assert TASK.find_metric(None, ("NOUN", "VERB")).name == "word_accuracy"
    assert TASK.find_metric(None, PLACES).name == "entity_f1"
    assert entity_tags(("o", "b_PER", "S-LOC", "I")) == ("O", "B-PER", "S-LOC", "I") and entity_tags(("O",)) == ()


def test_the_card_names_what_the_model_is_for(folder, workspace):
    card = model_card(workspace.plan(recipe_of(folder)))
    assert "pipeline_tag: token-classification" in card and "One model for token classification" in card
    assert find_task(Checkpoint("places", folder / "places", "places").config).name == TASK.name


def test_an_adapter_becomes_the_tagger_that_it_makes_of_its_base(folder, settings, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import BertForTokenClassification

    base = BertForTokenClassification.from_pretrained(folder / "places")
    config = LoraConfig(task_type="TOKEN_CLS", r=2, target_modules=["query"], init_lora_weights=False)
    adapted = get_peft_model(base, config).eval()
    adapted.peft_config["default"].base_model_name_or_path = str(folder / "places")
    adapted.save_pretrained(tmp_path / "adapter")
    found = find_checkpoint("a", str(tmp_path / "adapter"), settings)
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    with torch.no_grad():
        expected, logits = adapted(input_ids=ids).logits, load_model(found)(input_ids=ids).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert find_task(found.config).name == TASK.name and found.label_names == PLACES
