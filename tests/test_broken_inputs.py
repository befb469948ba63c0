"""Broken text for models of every task: the command line and the page each end in a sentence that says what to fix."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from generative_models import tiny_gpt2_writer, tiny_t5, write_writer
from test_multi_label import multi_label_bert
from tiny_models import tiny_bert, write_model
from tiny_taggers import tags_of, write_tagger

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.cli import main
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import FusionError
from fusion_ui.projects.building import add_domain, add_expert, blank_project
from fusion_ui.settings import Settings
from fusion_ui.ui.comparison import project_evaluation
from fusion_ui.workspace import Workspace

NUM_ROWS = 60
Row = dict[str, Any]

MODELS: dict[str, Callable[[Path], Path]] = {
    "regressor": lambda folder: write_model(folder, tiny_bert(0, labels=("score",))),
    "classifier": lambda folder: write_model(folder, tiny_bert(0)),
    "several": lambda folder: write_model(folder, multi_label_bert(0)),
    "tagger": lambda folder: write_tagger(folder, tags_of("per", "loc")),
    "t5": lambda folder: write_writer(folder, tiny_t5(0), ends=True),
    "gpt2": lambda folder: write_writer(folder, tiny_gpt2_writer(0)),
}
GOOD: dict[str, Any] = {
    "regressor": "3.5",
    "classifier": "positive",
    "several": ["joy"],
    "tagger": ["O", "B-PER", "O"],
    "t5": "w40",
    "gpt2": "w40",
}


def labelled(*labels: Any) -> Callable[[Row, int], Row]:
    """Every text has one of these labels in turn; where there is only one, every other text keeps its own."""
    return lambda row, i: row | {"label": labels[i % len(labels)] if len(labels) > 1 or i % 2 else row["label"]}


CASES: list[tuple[str, Callable[[Row, int], Row], str]] = [
    ("regressor", labelled("very similar"), "'very similar' where a number is to be predicted"),
    ("regressor", labelled("nan"), "'nan' where a number is to be predicted"),
    ("regressor", labelled("3,5"), "such as 3.5, or a model of classes"),
    ("classifier", labelled("neutral"), "has the label 'neutral', which the model does not know"),
    ("classifier", labelled("0.25", "1.75", "2.5"), "look like a quantity to predict"),
    ("classifier", labelled(["positive", "negative"]), "list where one label is needed"),
    ("classifier", lambda row, i: row | {"text": row["text"].split()}, "has a list where a text is needed"),
    ("several", labelled("joy / fear"), "has the label 'joy / fear'"),
    ("several", labelled("love"), "has the label 'love'"),
    ("several", labelled([0, 1]), "need one for each of the 3 labels|has the label"),
    ("tagger", labelled(["O", "O"]), "has 3 words and 2 labels"),
    ("tagger", labelled(["O", "B-ORG", "O"]), "has the label 'B-ORG', which the model does not know"),
    ("tagger", lambda row, i: row | {"text": f"{row['text']} more"}, "has 4 words and 3 labels"),
    ("t5", labelled(" ".join(["w1"] * 40)), "answers are written up to 32. Shorten the label"),
    ("t5", labelled("zebra"), "which no answer can be: the tokenizer writes it as"),
    ("gpt2", labelled(*(f"w{i}" for i in range(21))), "has 21 different labels"),
    ("gpt2", labelled("zebra", "quagga"), "the model cannot tell them apart"),
    ("gpt2", labelled(" ".join(["w1"] * 50)), "of 50 tokens, and 1 to 39 can follow"),
    ("classifier", lambda row, i: {"text": row["text"], "label": {"positive": 1}}, "has a dict in the column"),
    ("several", labelled([["joy"]]), "has a list with more than texts and numbers"),
    ("regressor", lambda row, i: {"text": row["text"]}, "has no column 'label'"),
    ("t5", lambda row, i: {"text": row["text"], "label": None}, "without 'label'"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, write in MODELS.items():
        write(folder / name)
    return folder


def write_rows(path: Path, model: str, change: Callable[[Row, int], Row]) -> Path:
    rows = [{"text": f"w{i % 40} w{(7 * i) % 40} w{i // 40}", "label": GOOD[model]} for i in range(NUM_ROWS)]
    path.write_text("\n".join(json.dumps(change(row, i)) for i, row in enumerate(rows)), encoding="utf-8")
    return path


def is_a_sentence(said: str, message: str) -> bool:
    import re

    return bool(re.search(message, said)) and "Traceback" not in said and said.rstrip().endswith(".")


@pytest.mark.parametrize(("model", "change", "message"), CASES, ids=[f"{m}-{i}" for i, (m, *_) in enumerate(CASES)])
def test_the_command_and_the_page_say_what_to_fix(
    model: str,
    change: Callable[[Row, int], Row],
    message: str,
    models: Path,
    settings: Settings,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("FUSION_UI_CACHE_DIR", str(settings.cache_dir))
    data = write_rows(tmp_path / "news.jsonl", model, change)
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(models / model), "--data", f"news={data}"])
    said = capsys.readouterr().err
    assert end.value.code == 2 and is_a_sentence(said, message), said

    project, _ = add_expert(blank_project(), "news", Checkpoint("news", models / model, "news"))
    with pytest.raises(FusionError) as found:
        source = load_domain(data, "news", has_empty_labels=model == "several")
        project, _ = add_domain(project, "news", source, tmp_path / "text")
        for split in ("calibrate", "select", "report"):
            project_evaluation(Workspace(settings), project, split)
    assert is_a_sentence(str(found.value), message), found.value


@pytest.mark.parametrize("model", MODELS)
def test_sound_text_is_taken_by_both(model: str, models: Path, settings: Settings, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setenv("FUSION_UI_CACHE_DIR", str(settings.cache_dir))
    data = write_rows(tmp_path / "news.jsonl", model, lambda row, i: row)
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(models / model), "--data", f"news={data}"])
    assert end.value.code == 0
    project, _ = add_expert(blank_project(), "news", Checkpoint("news", models / model, "news"))
    source = load_domain(data, "news", has_empty_labels=model == "several")
    project, _ = add_domain(project, "news", source, tmp_path / "text")
    assert len(project_evaluation(Workspace(settings), project, "report").domains[0]) > 10
