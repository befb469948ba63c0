"""The command line and its data: what is shown before it is used, what is noted while it is read, and pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from dataset_files import NAMES, parquet
from tiny_models import LABELS, random_texts, write_data, write_experts

from fusion_ui.cli import arguments, main
from fusion_ui.domains.loaders import load_domain
from fusion_ui.settings import Settings
from fusion_ui.statistics.bundle import read_statistic


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_experts(tmp_path_factory.mktemp("experts"), 2)


@pytest.fixture(autouse=True)
def own_cache(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "read_settings", lambda: settings)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """A function that runs a command and returns what it printed on standard output and on standard error."""

    def call(*words: object, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        printed = capsys.readouterr()
        assert ended.value.code == code, printed.err
        return printed.out, printed.err

    return call


def write_pairs(path: Path, num_pairs: int = 12) -> Path:
    columns = {"premise": random_texts(num_pairs), "hypothesis": random_texts(num_pairs, 1), "verdict": LABELS * 6}
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_inspect_shows_what_was_guessed_and_what_is_there(run, models, tmp_path: Path):
    texts = [*random_texts(7), "w1 " * 60, "w1  w2", "W1 w2"]
    path = tmp_path / "reviews.csv"
    pd.DataFrame({"id": range(10), "review": texts, "stars": [5, 1] * 5}).to_csv(path, index=False)
    found = json.loads(run("inspect", path, "--model", models[0], "--json")[0])
    assert found["columns"] == ["id", "review", "stars"]
    assert (found["text_column"], found["pair_column"], found["label_column"]) == ("review", None, "stars")
    assert "'review' is a well-known name" in found["guess"]
    assert len(found["rows"]) == 5 and found["rows"][1] == ["1", texts[1], "1"]
    assert (found["num_rows"], found["num_by_label"], found["num_duplicates"]) == (10, {"1": 5, "5": 5}, 1)
    assert (found["tokens"]["max"], found["tokens"]["max_length"], found["tokens"]["truncated_share"]) == (62, 32, 0.1)
    text, _ = run("inspect", path, "--model", models[0])
    for part in (
        "10 rows, read as text 'review', label 'stars'",
        "id, review, stars",
        "50.0%     1 (5)",
        "max 62; 10.0%",
    ):
        assert part in text
    assert "duplicates  1" in text and texts[3] in text
    assert "tokens" not in run("inspect", path)[0]


def test_inspect_takes_the_columns_that_it_is_told(run, tmp_path: Path):
    path = write_pairs(tmp_path / "nli.csv")
    found = json.loads(run("inspect", path, "--json")[0])
    assert (found["text_column"], found["pair_column"], found["label_column"]) == ("premise", "hypothesis", "verdict")
    found = json.loads(run("inspect", path, "--text-column", "hypothesis", "--json")[0])
    assert (found["text_column"], found["pair_column"]) == ("hypothesis", None)
    found = json.loads(run("inspect", path, "--text-column", "hypothesis", "--pair-column", "premise", "--json")[0])
    assert (found["text_column"], found["pair_column"]) == ("hypothesis", "premise")
    assert "has no column 'nothing'" in run("inspect", path, "--label-column", "nothing", code=2)[1]
    (tmp_path / "numbers.csv").write_text("a,b\n1,2\n3,4\n")
    assert "No column of" in run("inspect", tmp_path / "numbers.csv", code=2)[1]


def test_inspect_reads_some_rows_of_a_data_set_on_the_hub(run, hub):
    columns = {"review": [f"text {i}" for i in range(3000)], "stars": [0] * 1500 + [1] * 1500}
    hub.add_dataset("owner/data", {"test.parquet": parquet(columns, {"stars": NAMES})})
    found = json.loads(run("inspect", "owner/data", "--json")[0])
    assert (found["num_rows"], found["num_rows_in_all"], found["columns"]) == (1000, 3000, ["review", "stars"])
    assert found["num_by_label"] == {"negative": 500, "positive": 500} and found["rows"][0] == ["text 0", "negative"]
    assert "1,000 of 3,000 rows, read as text 'review'" in run("inspect", "owner/data:default:test")[0]
    assert "has no split 'dev'" in run("inspect", "owner/data:default:dev", code=2)[1]
    hub.requests.clear()
    assert "The data file no/where.csv does not exist" in run("inspect", "no/where.csv", code=2)[1]
    assert hub.requests == [], "a path was taken for the name of a data set"


def test_inspect_prints_no_control_characters_of_a_file(run, tmp_path: Path):
    path = tmp_path / "odd.csv"
    path.write_text("text,label\n\x1b[2Jfine,\x1b]0;x\x07\nbad,b\n")
    out, _ = run("inspect", path)
    assert "\x1b" not in out and "\x07" not in out and "[2Jfine" in out


def test_commands_print_the_notes_of_what_they_read_on_standard_error(run, models, tmp_path: Path):
    path = tmp_path / "gaps.csv"
    path.write_text("text,label\nw1,positive\nw2,\nw3 w4,negative\n")
    out, notes = run("evaluate", models[0], f"--data=news={path}", "--json")
    assert json.loads(out)["scores"][0]["num_examples"] == 2
    assert notes == "note: news: 1 of 3 rows are left out: 1 without 'label'.\n"
    _, notes = run("stats", "--model", models[0], "--data", path, "--out", tmp_path / "s.safetensors")
    assert notes == "note: 1 of 3 rows are left out: 1 without 'label'.\n"


def test_pairs_are_measured_and_evaluated(run, models, tmp_path: Path):
    path, columns = write_pairs(tmp_path / "nli.csv"), ["--text-column", "premise", "--label-column", "verdict"]
    for name, more in (("pairs", ["--pair-column", "hypothesis"]), ("alone", [])):
        out = tmp_path / f"{name}.safetensors"
        run("stats", "--model", models[0], "--data", path, "--out", out, *columns, *more)
    pairs, alone = (read_statistic(tmp_path / f"{name}.safetensors") for name in ("pairs", "alone"))
    read = load_domain(path, "nli", "premise", None, pair_column="hypothesis")
    assert pairs.domain == read.fingerprint and pairs.num_tokens > alone.num_tokens
    data = f"--data=nli={path}"
    scores = json.loads(run("evaluate", models[0], data, *columns, "--pair-column", "hypothesis", "--json")[0])
    assert scores["scores"][0]["num_examples"] == 12
    assert "has no column 'second'" in run("evaluate", models[0], data, *columns, "--pair-column", "second", code=2)[1]


@pytest.fixture
def recipe(models, tmp_path: Path) -> Path:
    """Two experts, each calibrated on text of its own."""
    experts = []
    for i, model in enumerate(models):
        data = write_data(tmp_path / f"calibrate{i}.csv", seed=i)
        experts.append({"name": model.name, "model": str(model), "calibration": {"data": str(data)}})
    (tmp_path / "recipe.json").write_text(json.dumps({"method": "regmean", "experts": experts}))
    return tmp_path / "recipe.json"


def test_merge_prints_the_notes_of_what_it_is_calibrated_on(run, recipe, tmp_path: Path):
    with (tmp_path / "calibrate0.csv").open("a") as file:
        file.write(",positive\n")
    _, notes = run("merge", recipe, "--out", tmp_path / "out")
    assert notes == "note: expert0: 1 of 13 rows are left out: 1 without 'text'.\n"


@pytest.mark.parametrize("command", ["evaluate", "sweep"])
def test_text_that_was_calibrated_on_is_named_where_it_is_evaluated(run, recipe, tmp_path: Path, command: str):
    other, mixed = write_data(tmp_path / "other.csv", seed=9), tmp_path / "mixed.csv"
    shared = load_domain(tmp_path / "calibrate1.csv", "x").texts[3]
    mixed.write_text(other.read_text() + f"{shared.upper()},positive\n")
    _, warnings = run(command, recipe, f"--data=other={other}", f"--data=mixed={mixed}", "--json")
    assert warnings.count("warning: ") == 1
    assert (
        f"1 sentence of mixed (mixed) stands in expert1 (calibrate1) too, for example {shared.upper()!r}." in warnings
    )
    _, warnings = run(command, recipe, f"--data=other={other}", "--json")
    assert warnings == ""
