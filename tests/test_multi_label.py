"""Multi-label classification: F1 counted by hand, Fisher information by brute force, and runs through the workspace."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_models import random_texts, random_tokens, tiny_bert, write_model
from torch import Tensor, nn

from fusion_ui.cli import main as fusion_ui
from fusion_ui.domains.batches import EncodedText
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import DomainError, ParameterError
from fusion_ui.evaluation.combined import ensemble_of
from fusion_ui.evaluation.references import expert_candidates
from fusion_ui.evaluation.typed_text import Example, answer_examples
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.progress import Progress
from fusion_ui.projects.building import add_domain, blank_project
from fusion_ui.projects.project import ProjectExpert, read_split
from fusion_ui.statistics.fisher import accumulate_fisher
from fusion_ui.tasks.multi_label import MultiLabelClassification
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.workspace import Workspace

LABELS = ("anger", "joy", "fear")
TASK = MultiLabelClassification()
NO_TOKENIZER = Tokenizer.__new__(Tokenizer)  # labels need none


def fisher_by_hand(
    model: nn.Module, texts: Sequence[EncodedText], log_terms: Callable[[Tensor], list[tuple[Tensor, float]]]
) -> dict[str, Tensor]:
    """The mean over texts of weighted squared gradients, by plain autograd."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    model.requires_grad_(True)
    for text in texts:
        logits: Any = model(torch.tensor([text.ids])).logits[0]
        for term, weight in log_terms(logits):
            gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
            for name, gradient in zip(names, gradients, strict=True):
                if gradient is not None:
                    total[name] += weight * gradient.square() / len(texts)
    model.requires_grad_(False)
    return total


def all_answers(logits: Tensor) -> list[tuple[Tensor, float]]:
    """log p(y|x) of every set of labels y, and p(y|x)."""
    terms = []
    for chosen in product([0.0, 1.0], repeat=len(logits)):
        y = torch.tensor(chosen)
        log_p = (y * nn.functional.logsigmoid(logits) + (1 - y) * nn.functional.logsigmoid(-logits)).sum()
        terms.append((log_p, float(log_p.detach().exp())))
    return terms


def test_the_fisher_information_is_the_mean_over_every_set_of_labels():
    model, texts = tiny_bert(0, labels=LABELS), [EncodedText(ids) for ids in random_tokens(3)]
    found = accumulate_fisher(TASK, model, texts, Progress())
    for name, expected in fisher_by_hand(model, texts, all_answers).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-7, msg=name)


examples = st.lists(
    st.tuples(st.lists(st.booleans(), min_size=3, max_size=3), st.sets(st.integers(0, 2))), min_size=1, max_size=12
)


@given(rows=examples)
def test_the_metrics_are_those_counted_by_hand(rows: list[tuple[list[bool], set[int]]]):
    logits = torch.tensor([[1.0 if given_ else -1.0 for given_ in row] for row, _ in rows])
    targets = [tuple(sorted(labels)) for _, labels in rows]
    counts = []
    for label in range(3):
        pairs = [(row[label], label in labels) for row, labels in rows]
        counts.append([sum(p == kind for p in pairs) for kind in ((True, True), (True, False), (False, True))])
    each = [2 * hits / (2 * hits + wrong + missed) for hits, wrong, missed in counts if hits + wrong + missed]
    hits, wrong, missed = map(sum, zip(*counts, strict=True))
    expected = {
        "macro_f1": sum(each) / len(each) if each else 0.0,
        "micro_f1": 2 * hits / max(1, 2 * hits + wrong + missed),
        "subset_accuracy": sum({i for i, is_ in enumerate(row) if is_} == labels for row, labels in rows) / len(rows),
    }
    for metric in TASK.metrics:
        score = metric.score(logits, targets)
        assert score.value == pytest.approx(expected[metric.name]), metric.name
        assert score.low <= score.value <= score.high


def test_the_threshold_decides_what_is_given():
    row = torch.tensor([[0.0, 1.0, 2.0]])  # probabilities 0.5, 0.73, 0.88
    names = [MultiLabelClassification(t).read_answers(row, LABELS, NO_TOKENIZER)[0].label for t in (0.4, 0.5, 0.8, 0.9)]
    assert names == ["anger, joy, fear", "joy, fear", "fear", "none of them"]
    assert MultiLabelClassification(0.8).metrics[2].score(row, [(2,)]).value == 1


def multi_label_bert(seed: int, labels: Sequence[str] = LABELS) -> Any:
    model: Any = tiny_bert(seed, labels=labels)
    model.config.problem_type = "multi_label_classification"
    return model


def write_lists(path: Path, num_texts: int, seed: int) -> Path:
    generator = random.Random(seed)
    rows = [
        {"text": text, "label": generator.sample(LABELS, k=generator.randint(0, 3))}
        for text in random_texts(num_texts, seed)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def recipe_of(folder: Path, models: Sequence[Path], **change: object) -> MergeRecipe:
    data = write_lists(folder / "calibrate.jsonl", 12, seed=5)
    experts = [{"name": m.name, "model": str(m), "calibration": {"data": str(data)}} for m in models]
    return parse_recipe({"method": "regmean", "experts": experts} | change)


@pytest.mark.parametrize("method", ["regmean", "fisher", "simple_mean"])
def test_a_merge_scores_as_transformers_alone_would(method: str, settings, tmp_path: Path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    models = [write_model(tmp_path / f"m{i}", multi_label_bert(i)) for i in range(2)]
    workspace = Workspace(settings)
    plan = workspace.plan(recipe_of(tmp_path, models, method=method))
    domain = load_domain(write_lists(tmp_path / "report.jsonl", 30, seed=7), "news")
    assert len(domain.texts) == 30, "a text without labels is kept"
    evaluation = workspace.evaluation_of([domain], plan)
    *_, found = workspace.evaluate([workspace.candidate(plan)], evaluation, [])
    workspace.export(plan, tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    batch = AutoTokenizer.from_pretrained(tmp_path / "out")(
        [row["text"] for row in rows], padding=True, return_tensors="pt"
    )
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert model.config.problem_type == "multi_label_classification"
    given_ = (model(**batch).logits.sigmoid() > 0.5).tolist()
    each = []
    for i, label in enumerate(LABELS):
        hits = sum(g[i] and label in row["label"] for g, row in zip(given_, rows, strict=True))
        apart = sum(g[i] != (label in row["label"]) for g, row in zip(given_, rows, strict=True))
        each.append(2 * hits / (2 * hits + apart))
    assert (found.scores[0].metric, found.scores[0].value) == ("macro_f1", pytest.approx(sum(each) / 3))


def test_identical_experts_give_back_the_experts_metric_and_heads_unite(settings, tmp_path: Path):
    models = [write_model(tmp_path / name, multi_label_bert(0)) for name in ("a", "b")]
    workspace = Workspace(settings)
    domain = load_domain(write_lists(tmp_path / "report.jsonl", 30, seed=7), "news")
    plan = workspace.plan(recipe_of(tmp_path, models, method="simple_mean"))
    evaluation = workspace.evaluation_of([domain], plan)
    experts = [*expert_candidates(plan).values()]
    rows = {}
    for row in workspace.evaluate([workspace.candidate(plan), *experts, ensemble_of(experts)], evaluation, []):
        rows[row.candidate.name] = row.scores[0].value
    assert len({*rows.values()}) == 1
    other = write_model(tmp_path / "c", multi_label_bert(1, ("joy", "sadness")))
    union = workspace.plan(recipe_of(tmp_path, [models[0], other], heads="union", method="simple_mean"))
    assert union.labels.names == (*LABELS, "sadness")
    *_, merged = workspace.evaluate([workspace.candidate(union)], workspace.evaluation_of([domain], union), [])
    assert merged.scores[0].num_examples == 30
    first, second = (load_file(model / "model.safetensors")["classifier.weight"] for model in (models[0], other))
    expected = torch.stack([first[0], (first[1] + second[0]) / 2, first[2], second[1]])
    torch.testing.assert_close(workspace.merge(union).tensors["classifier.weight"], expected)
    typed = answer_examples([Example("w1 w2")], [workspace.candidate(union)], evaluation, Progress())
    assert typed.answers[0][0].label and not typed.probabilities.isnan().any()


def test_labels_are_read_from_lists_and_from_text(settings, tmp_path: Path):
    path = tmp_path / "data.csv"
    path.write_text("text,label\nw1,\"joy, fear\"\nw2,joy;anger\nw3,fear|joy\nw4,\nw5,\"['joy', 'anger']\"\nw6,[]\n")
    domain = load_domain(path, "d", has_empty_labels=True)
    targets = TASK.read_targets(domain, LABELS, NO_TOKENIZER)
    assert targets == ((1, 2), (0, 1), (1, 2), (), (0, 1), ())
    assert len(load_domain(path, "d").texts) == 5, "elsewhere an empty label is a missing one"
    numbers = Domain("d", "d", "s", ("a", "b"), ("0\x1f2", "1"))
    assert TASK.read_targets(numbers, LABELS, NO_TOKENIZER) == ((0, 2), (1,))


@pytest.mark.parametrize(
    ("rows", "is_json"),
    [
        ([[0, 1, 1], [0, 0, 0], [1, 0, 0]], True),
        ([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], True),
        ([[False, True, True], [False, False, False], [True, False, False]], True),
        (["[0, 1, 1]", "[0, 0, 0]", "[1.0, 0, 0]"], False),
        (["0|1|1", "0|0|0", "1|0|0"], False),
    ],
)
def test_a_nought_or_one_for_every_label_is_read_as_such(rows: list[Any], is_json: bool, tmp_path: Path):
    path = tmp_path / ("data.jsonl" if is_json else "data.csv")
    table = [{"text": f"w{i}", "label": row} for i, row in enumerate(rows)]
    lines = map(json.dumps, table) if is_json else ["text,label", *(f'{r["text"]},"{r["label"]}"' for r in table)]
    path.write_text("\n".join(lines), encoding="utf-8")
    domain = load_domain(path, "d", has_empty_labels=True)
    assert TASK.read_targets(domain, LABELS, NO_TOKENIZER) == ((1, 2), (), (0,))


def test_numbers_that_are_neither_positions_nor_one_for_every_label_are_refused():
    for labels in (("0\x1f1\x1f0", "1\x1f0"), ("1\x1f1",), ("True\x1fTrue\x1fFalse\x1fFalse",), ("0;2;2", "1")):
        with pytest.raises(
            DomainError, match=r"Example 1 .*need one for each of the 3 labels of the model.*Write names"
        ):
            TASK.read_targets(Domain("d", "d", "s", ("w1",) * len(labels), labels), LABELS, NO_TOKENIZER)
    twice = Domain("d", "d", "s", ("w1",), ("joy, joy",))
    assert TASK.read_targets(twice, LABELS, NO_TOKENIZER) == ((1,),), "a name may stand there twice"
    named = Domain("d", "d", "s", ("w1", "w2"), ("0, 1", "1, 0"))
    assert TASK.read_targets(named, ("1", "0"), NO_TOKENIZER) == ((0, 1), (0, 1)), "labels that are called so"


def test_noughts_and_ones_are_of_the_domains_own_expert_where_heads_unite(settings, tmp_path: Path):
    models = [
        write_model(tmp_path / "a", multi_label_bert(0)),
        write_model(tmp_path / "b", multi_label_bert(1, ("sadness", "joy"))),
    ]
    workspace = Workspace(settings)
    plan = workspace.plan(recipe_of(tmp_path, models, heads="union", method="simple_mean"))
    assert plan.labels.names == (*LABELS, "sadness")
    a = Domain("a", "a", "s", ("w1", "w2"), ("0\x1f1\x1f1", "1\x1f0\x1f0"))
    b = Domain("b", "b", "s", ("w1", "w2"), ("1\x1f0", "1\x1f1"))
    encoded = {d.domain.name: d for d in workspace.evaluation_of([a, b], plan).domains}
    for name, expected in (("a", {"w1": (1, 2), "w2": (0,)}), ("b", {"w1": (3,), "w2": (1, 3)})):
        found = encoded[name]
        texts = [found.domain.texts[i] for i in found.order]
        assert dict(zip(texts, found.targets, strict=True)) == expected


def run(*arguments: str | Path) -> None:
    """Raises `SystemExit` unless the command ends well."""
    try:
        fusion_ui([*map(str, arguments)])
    except SystemExit as end:
        if end.code:
            raise


def test_the_commands_take_the_threshold_and_answers_are_kept_for_all_of_them(
    settings, tmp_path: Path, capsys: Any, monkeypatch: Any
):
    monkeypatch.setenv("FUSION_UI_CACHE_DIR", str(settings.cache_dir))
    models = [write_model(tmp_path / f"m{i}", multi_label_bert(i)) for i in range(2)]
    recipe = tmp_path / "recipe.json"
    recipe.write_text(recipe_of(tmp_path, models, method="simple_mean").model_dump_json())
    data = f"news={write_lists(tmp_path / 'report.jsonl', 30, seed=7)}"
    probabilities = {}
    for threshold in (None, 0.5, 0.001, 0.999):
        said = [] if threshold is None else ["--threshold", threshold]
        run("evaluate", recipe, "--data", data, "--metric", "micro_f1", "--json", *map(str, said))
        probabilities[threshold] = json.loads(capsys.readouterr().out)["scores"][0]["value"]
    rows = [json.loads(line)["label"] for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    count = sum(map(len, rows))
    assert probabilities[None] == probabilities[0.5]
    assert probabilities[0.001] == pytest.approx(2 * count / (count + 3 * len(rows))), "every label is given"
    assert probabilities[0.999] == 0, "none is given"
    for broken in ("0", "1", "-0.2", "1.5", "nan"):
        with pytest.raises(SystemExit, match="2"):
            run("evaluate", recipe, "--data", data, "--threshold", broken)
        assert "must lie between 0 and 1" in capsys.readouterr().err
    plain = write_model(tmp_path / "plain", tiny_bert(0, labels=LABELS))
    with pytest.raises(SystemExit, match="2"):
        run("evaluate", plain, "--data", data, "--threshold", "0.4")
    assert "several labels" in capsys.readouterr().err


def test_a_projects_text_keeps_its_threshold(tmp_path: Path):
    models = [write_model(tmp_path / name, multi_label_bert(0)) for name in ("a", "b")]
    project = blank_project()
    for model in models:
        project = replace(project, experts=(*project.experts, ProjectExpert(model.name, model.name, model, "")))
    source = load_domain(write_lists(tmp_path / "all.jsonl", 60, seed=7), "a")
    found, _ = add_domain(project, "a", source, tmp_path / "domains", "micro_f1", 0.7)
    report = read_split(found.domains[0], "report")
    assert (report.threshold, report.metric) == (0.7, "micro_f1")
    for broken in (0.0, 1.0, float("nan")):
        with pytest.raises(ParameterError, match="between 0 and 1"):
            add_domain(project, "a", source, tmp_path / "domains", "", broken)
    plain = write_model(tmp_path / "plain", tiny_bert(0, labels=LABELS))
    other = replace(blank_project(), experts=(ProjectExpert("p", "p", plain, ""),))
    with pytest.raises(ParameterError, match="several labels"):
        add_domain(other, "a", source, tmp_path / "domains", "", 0.4)
