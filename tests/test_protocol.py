"""The paper's protocol on made-up text: known outcomes of every experiment, and a run that is killed goes on."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from benchmarks.protocol import all_experts, calibration, growth, heads, multitask, non_iid, pairwise
from benchmarks.protocol.estimate import count_work, describe_estimate, estimate_minutes
from benchmarks.protocol.readme import END, START, check_markers, describe_differences, write_part
from benchmarks.protocol.section import Section, markdown, write_section
from benchmarks.protocol.settings import FULL, QUICK, ProtocolSettings
from benchmarks.protocol.spread import MEAN, cell, compare, judge, spread_table, summarise, with_means
from benchmarks.protocol.study import Study, open_study
from benchmarks.protocol.tiny import LABELS, NAMES, prepare_tiny
from benchmarks.protocol.trainer import Trained, Trainer
from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.cli import main as fusion_ui
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import FusionError
from fusion_ui.merging.recipe import read_recipe
from fusion_ui.plots.parameter_curve import Level
from fusion_ui.plots.sample_size import sample_size_figure
from fusion_ui.plots.spread import spread_figure
from fusion_ui.progress import Progress
from fusion_ui.projects.project import Project
from fusion_ui.settings import Settings
from fusion_ui.statistics.sampling import sample_indices
from fusion_ui.training.fine_tuning import REPORT
from fusion_ui.training.settings import TrainingSettings
from fusion_ui.workspace import Workspace

ROOT = Path(__file__).parent.parent
SMALL = replace(QUICK, num_seeds=2, sizes=(4, 8))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return prepare_tiny(tmp_path_factory.mktemp("tiny") / "project", Progress())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(Settings(cache_dir=tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def study(project: Project, workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return open_study(workspace, project, SMALL, tmp_path_factory.mktemp("out"), Progress())


# Identical experts: every merge is the expert, in every table.


@dataclass(frozen=True)
class OneModel(Trainer):
    """Gives one model out for everything that is asked for."""

    def train(self, domains: Sequence[Domain], how: TrainingSettings) -> Trained:
        return Trained(self.base.directory, 1.0)


@pytest.fixture(scope="module")
def identical(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    experts = tuple(replace(expert, model=study.trainer.base.directory) for expert in study.project.experts)
    trainer = OneModel(study.trainer.base, LABELS, study.trainer.folder, Progress())
    folder, out = (tmp_path_factory.mktemp(name) for name in ("tables", "same"))
    return replace(study, project=replace(study.project, experts=experts), trainer=trainer, folder=folder, out=out)


def test_identical_experts_give_the_expert_in_all_tables(identical: Study):
    alone = identical.score(identical.single("one", identical.trainer.base.directory))
    assert len(set(alone.values())) > 1, "a model that answers everything alike would show nothing"
    inside = all_experts.score_inside(identical, 0)
    assert set(inside["candidate"]) >= {
        "RegMean",
        "Fisher-weighted mean",
        "Simple mean",
        "Ensemble",
        "Multi-task model",
    }
    mixes = [heads.score_mix(identical, 0, is_same) for is_same in (True, False)]
    for frame in (inside, all_experts.score_outside(identical, 1), *mixes):
        for row in frame.to_dict(orient="records"):
            assert row["value"] == pytest.approx(alone[row["domain"]]), row
    sides = non_iid.score_sides(identical, NAMES[0], 0)
    whole = sides[(sides["domain"] == NAMES[0]) & (sides["candidate"] != non_iid.MAJORITY)]
    assert whole["value"].tolist() == [alone[NAMES[0]]] * 7
    parts = sides[(sides["domain"] != NAMES[0]) & (sides["candidate"] != non_iid.MAJORITY)]
    assert parts.groupby("domain")["value"].nunique().tolist() == [1, 1]
    sizes = [calibration.score_size(identical, 4, 0), calibration.score_without(identical)]
    assert all(dict(zip(f["domain"], f["value"], strict=True)) == alone for f in sizes)
    for method in pairwise.COMPARED:
        pairs = pairwise.score_pairs(identical, method)
        assert len(pairs) == 12 and (pairs["better"] == 0).all() and (pairs["worse"] == 0).all()
        grown = growth.score_growth(identical, method)
        whole = grown[grown["series"] == "all"]["value"]
        assert whole.tolist() == pytest.approx([sum(alone.values()) / 4] * 4)


def test_a_merge_that_is_no_expert_is_told(study: Study):
    frame = all_experts.score_inside(study, 0)
    values = {name: tuple(rows["value"]) for name, rows in frame.groupby("candidate")}
    assert len(set(values.values())) > 2, "the same numbers for everything would pass the test above"
    chance, means = 0.5, {name: sum(found) / len(found) for name, found in values.items()}
    assert means["Multi-task model"] > chance + 0.2 and means["Each domain's own expert"] > chance + 0.2


# What the experiments set up.


def test_a_divided_domain_has_each_sentence_once_and_80_percent_of_each_label_on_one_side():
    labels = ("bad",) * 50 + ("good",) * 30
    domain = Domain("d", "D", "train", tuple(f"text {i}" for i in range(80)), labels)
    first, second = non_iid.divide(domain, 0.8)
    assert Counter(first.labels) == {"bad": 40, "good": 6} and Counter(second.labels) == {"bad": 10, "good": 24}
    assert sorted(first.texts + second.texts) == sorted(domain.texts)
    known = dict(zip(domain.texts, domain.labels, strict=True))
    assert all(
        known[text] == label for side in (first, second) for text, label in zip(side.texts, side.labels, strict=True)
    )


def test_the_divided_text_of_the_project_is_what_the_sides_are_trained_and_calibrated_on(study: Study):
    non_iid.score_sides(study, NAMES[0], 0)
    sides = non_iid.divide(study.training_text(NAMES[0]), 0.8)
    shares = [Counter(side.labels)[label] / len(side.labels) for side, label in zip(sides, LABELS, strict=True)]
    assert shares == [20 / 24, 20 / 24], "80 % of 24 of a label, rounded up, beside 4 of the other"
    recipe = read_recipe(study.out / "results" / "recipes" / "non-iid-0-regmean.json")
    for side, expert in zip(sides, recipe.experts, strict=True):
        assert expert.calibration and expert.calibration.data
        read = load_domain(Path(expert.calibration.data), side.name)
        assert (read.texts, read.labels) == (side.texts, side.labels)
        assert json.loads((Path(expert.model) / REPORT).read_text())["num_examples"] == {side.name: len(side.texts)}


def test_the_experts_of_both_sides_learned_and_the_most_even_domain_is_divided(study: Study):
    name = non_iid.choose_domain(study)
    assert name in study.names
    found = pd.concat([non_iid.score_sides(study, name, seed) for seed in range(study.settings.num_seeds)])
    scores = found.groupby(["candidate", "domain"])["value"].mean()
    guessed = scores[non_iid.MAJORITY, name]
    assert guessed == pytest.approx(0.5)
    for side in non_iid.SIDES:
        assert scores[non_iid.ALONE[side], side] > scores[non_iid.MAJORITY, side], "it is no constant answer"
        assert scores[non_iid.ALONE[side], name] > guessed + 0.1


def test_macro_f1_is_that_of_the_same_answers(study: Study):
    frames = [all_experts.score_inside(study, 0, metric) for metric in ("accuracy", "macro_f1")]
    both = pd.concat(frames, axis=1)["value"]
    assert not both.iloc[:, 0].equals(both.iloc[:, 1])
    assert (both.iloc[:, 1] <= both.iloc[:, 0] + 0.1).all() and (both.iloc[:, 1] > 0.3).all()


def test_heads_are_the_same_or_all_different():
    names = ("a", "b", "c", "d")
    for start in range(3):
        same = heads.choose_seeds(names, 3, start, True)
        different = heads.choose_seeds(names, 3, start, False)
        assert list(same) == list(different) == ["a", "b", "c"]
        assert set(same.values()) == {start} and len(set(different.values())) == 3
    used = [pair for start in range(3) for pair in heads.choose_seeds(names, 3, start, False).items()]
    assert len(set(used)) == 9, "every expert takes part once in either kind of merge"


def test_experts_of_a_set_were_trained_from_its_head(study: Study):
    def head_seeds(kind: str, start: int) -> list[int]:
        recipe = read_recipe(study.out / "results" / "recipes" / f"heads-{kind}-{start}-regmean.json")
        return [json.loads((Path(e.model) / REPORT).read_text())["settings"]["head_seed"] for e in recipe.experts]

    for start in range(2):
        heads.score_mix(study, start, True)
        heads.score_mix(study, start, False)
    assert [head_seeds("same", start) for start in range(2)] == [[0, 0], [1, 1]]
    assert [head_seeds("different", start) for start in range(2)] == [[0, 1], [1, 0]]


def test_larger_draws_hold_the_smaller(study: Study):
    for draw in range(3):
        samples = [set(sample_indices(1600, size, draw)) for size in FULL.sizes]
        assert all(small < large for small, large in itertools.pairwise(samples))
    assert sample_indices(1600, 10, 0) != sample_indices(1600, 10, 1)
    calibration.score_size(study, 8, 1)
    recipe = read_recipe(study.out / "results" / "recipes" / "calibration-8-1.json")
    assert (recipe.statistics.num_examples, recipe.statistics.seed) == (8, 1)
    assert all(e.calibration and Path(str(e.calibration.data)).stem == "train" for e in recipe.experts)


def test_out_of_domain_merges_leave_the_domains_expert_out(study: Study):
    all_experts.score_outside(study, 0)
    for name in NAMES:
        recipe = read_recipe(study.out / "results" / "recipes" / f"without-{name}-0-regmean.json")
        assert [expert.name for expert in recipe.experts] == [other for other in NAMES if other != name]


def test_a_recipe_of_the_protocol_is_merged_by_the_command_line(study: Study, capsys: pytest.CaptureFixture[str]):
    rows = all_experts.score_inside(study, 0)
    path = study.out / "results" / "recipes" / "all-0-simple_mean.json"
    file = study.out / "skies.csv"
    skies = next(d.domain for d in study.report.domains if d.domain.name == "skies")
    pd.DataFrame({"text": skies.texts, "label": skies.labels}).to_csv(file, index=False)
    with pytest.raises(SystemExit, match="0"):
        fusion_ui(["evaluate", str(path), "--data", f"skies={file}", "--json"])
    found = json.loads(capsys.readouterr().out)["scores"][0]["value"]
    ours = rows[(rows["candidate"] == "Simple mean") & (rows["domain"] == "skies")]["value"].item()
    assert found == pytest.approx(ours)


# Numbers into words.

WON = {
    "a": ([0.9, 0.8, 0.9], [0.7, 0.7, 0.8]),
    "b": ([0.5, 0.6, 0.4], [0.5, 0.5, 0.5]),
    "c": ([0.1, 0.2, 0.1], [0.4] * 3),
}


def made_up() -> pd.DataFrame:
    rows = [
        {"seed": seed, "candidate": candidate, "domain": domain, "value": values[i][seed]}
        for i, candidate in enumerate(("RegMean", "Other"))
        for domain, values in WON.items()
        for seed in range(3)
    ]
    return with_means(pd.DataFrame(rows))


def test_the_sentence_says_where_regmean_wins_and_where_not():
    titles = {"a": "Apples", "b": "Pears", "c": "Plums"}
    assert compare(made_up(), "RegMean", "Other", titles) == (
        "RegMean against Other, in points: ahead in every seed on Apples +13.3 (+10.0 to +20.0), behind in every seed "
        "on Plums -26.7 (-30.0 to -20.0), undecided elsewhere."
    )
    assert [judge(v) for v in ([0.1, 0.2], [-0.1, -0.2], [0.1, -0.1], [0.1, 0.0], [1e-17, 0.1])] == [
        "ahead", "behind", "undecided", "undecided", "undecided",
    ]  # fmt: skip
    assert summarise(made_up(), "RegMean").startswith("from seed to seed, RegMean's mean is ")


def test_cells_hold_mean_smallest_and_largest():
    assert cell([0.5, 0.75, 0.7]) == "65.0 (50.0 to 75.0)"
    table = spread_table(made_up(), {"a": "Apples", MEAN: "mean"})
    header, _, first, _ = table.splitlines()
    assert header == "|  | Apples | mean |"
    assert first == "| RegMean | 86.7 (80.0 to 90.0) | 50.0 (46.7 to 53.3) |"


def test_a_section_is_written_with_its_figures(tmp_path: Path):
    figure = spread_figure(pd.DataFrame(columns=["group", "series", "run", "value"]), {"a": "A"}, {})
    section = Section("Title", "Note.", [markdown(["x", "y"], [["1", "2"]])], ["Found."], {"picture": figure})
    write_section(section, "name", tmp_path)
    assert (tmp_path / "results" / "name.md").read_text() == (
        "### Title\n\nNote.\n\n| x | y |\n| --- | --- |\n| 1 | 2 |\n\n- Found.\n"
    )
    page = (tmp_path / "results" / "picture.html").read_text()
    assert "plotly.min.js" in page and (tmp_path / "results" / "plotly.min.js").is_file() and "https://cdn" not in page


# The README's part.


def test_the_readme_says_what_differs_from_the_paper_as_the_settings_have_it():
    between = check_markers(ROOT / "README.md").split(START)[1].split(END)[0]
    assert describe_differences(FULL) in between and "500 sentences" in between


def test_only_what_stands_between_the_markers_is_written(tmp_path: Path):
    file = tmp_path / "README.md"
    file.write_text(f"# One\n\n{START}\n\nold\n\n{END}\n\nlast\n")
    for _ in range(2):
        write_part(file, "new")
    assert file.read_text() == f"# One\n\n{START}\n\nnew\n\n{END}\n\nlast\n"
    for broken in ("nothing", START, f"{END} {START}", f"{START} {START} {END}"):
        file.write_text(broken)
        with pytest.raises(FusionError, match="Put a line"):
            write_part(file, "new")
        assert file.read_text() == broken


# Figures.


def test_the_spread_figure_shows_mean_range_and_every_run():
    rows = [("x", "One", 0, 0.6), ("x", "One", 1, 0.8), ("y", "One", 0, 0.9), ("y", "<b>Two", 0, 0.7)]
    frame = pd.DataFrame(rows, columns=["group", "series", "run", "value"])
    figure = spread_figure(frame, {"x": "Ex", "y": "Why"}, {"One": "#112233", "<b>Two": "#445566"})
    go.Figure(figure)
    means, runs, two, _ = figure["data"]
    assert means["y"] == pytest.approx([0.7, 0.9]) and means["error_y"]["array"] == pytest.approx([0.1, 0])
    assert means["error_y"]["arrayminus"] == pytest.approx([0.1, 0]) and runs["y"] == [0.6, 0.8, 0.9]
    assert two["name"] == "&lt;b&gt;Two" and two["y"] == [0.7] and 0.5 < two["x"][0] < 1.5
    assert figure["layout"]["yaxis"]["range"][0] <= 0.6


def test_the_sample_size_figure_bands_the_draws():
    values = {(10, 0): 0.6, (10, 1): 0.8, (100, 0): 0.9, (100, 1): 0.9}
    rows = [(size, draw, d, v - i / 10) for (size, draw), v in values.items() for i, d in enumerate("ab")]
    frame = pd.DataFrame(rows, columns=["num_examples", "draw", "domain", "value"])
    figure = sample_size_figure(frame, {"a": "A", "b": "B"}, [Level("Simple mean", "#123456", 0.5)])
    go.Figure(figure)
    by_name = {trace["name"]: trace for trace in figure["data"]}
    assert by_name["A"]["x"] == [10, 100] and by_name["A"]["y"] == pytest.approx([0.7, 0.9])
    assert by_name["A, draws"]["y"] == pytest.approx([0.8, 0.9, 0.9, 0.6])
    assert by_name["mean"]["y"] == pytest.approx([0.65, 0.85]) and by_name["Simple mean"]["x"] == [10, 100]
    assert figure["layout"]["xaxis"]["type"] == "log"
    go.Figure(sample_size_figure(frame[:0], {"a": "A"}))


# Kept and found again.


def test_what_shapes_a_model_is_in_its_key(study: Study):
    text, how, trainer = study.training_text(NAMES[0]), study.settings.seeded(0), study.trainer
    others = [
        trainer.key([replace(text, labels=text.labels[::-1])], how),
        trainer.key([text, study.training_text(NAMES[1])], how),
        trainer.key([text], replace(how, head_seed=1)),
        trainer.key([text], replace(how, seed=1)),
        trainer.key([text], replace(how, max_tokens=16)),
        replace(trainer, label_names=LABELS[::-1]).key([text], how),
        replace(trainer, base=Checkpoint("x", study.shipped[NAMES[0]], "x")).key([text], how),
    ]
    assert len({trainer.key([text], how), *others}) == 8
    assert replace(trainer, folder=Path("elsewhere")).key([text], how) == trainer.key([text], how)


def test_a_model_and_a_table_are_made_once(study: Study):
    first = study.expert(NAMES[0], 0)
    stamp = (first.directory / "model.safetensors").stat().st_mtime_ns
    assert study.expert(NAMES[0], 0) == first
    assert (first.directory / "model.safetensors").stat().st_mtime_ns == stamp
    made: list[int] = []

    def make() -> pd.DataFrame:
        made.append(1)
        return pd.DataFrame([{"name": "x", "value": 0.1 + 0.2, "detail": ["a", "b"]}])

    found = [study.keep("once", make).to_dict(orient="records") for _ in range(2)]
    assert made == [1] and found[0] == found[1] and found[0][0]["detail"] == ["a", "b"]
    again = replace(study, settings=replace(study.settings, num_report=10))
    assert again.key != study.key, "rows of other settings are not taken for these"


def test_the_work_is_counted_and_the_full_protocol_would_fit_on_two_cores(study: Study):
    minutes = estimate_minutes(study)
    assert describe_estimate(minutes).startswith("All of it takes about ") and min(minutes.values()) > 0
    work = count_work(replace(study, settings=FULL))
    # Speeds seen on two idle cores with the demo's model: sentences a second, and seconds a merge.
    seconds = work.trained / 50 + work.answered / 215 + work.grams / 93 + work.fishers / 20 + 1.5 * work.merges
    assert seconds < 30 * 60
    assert ProtocolSettings() == FULL and FULL.num_seeds >= 3


def test_a_killed_run_goes_on_and_ends_with_all_tables(tmp_path: Path):
    environment = os.environ | {"FUSION_UI_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "benchmarks.protocol", "--quick", "--out", str(tmp_path / "out")]
    readme = tmp_path / "README.md"
    readme.write_text(f"{START}\n{END}\n")
    command += ["--readme", str(readme)]
    models = tmp_path / "protocol" / "models"
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 400
    while len(list(models.glob(f"[!.]*/{REPORT}"))) < 6:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stamps = {path: path.stat().st_mtime_ns for path in models.glob(f"[!.]*/{REPORT}")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "what was trained is not trained again"
    assert len(list(models.glob(f"[!.]*/{REPORT}"))) == 3 * (4 + 1 + 2) and not list(models.glob(".*.part"))
    results = (tmp_path / "out" / "results.md").read_text()
    titles = [line[4:] for line in results.splitlines() if line.startswith("### ")]
    assert re.search(
        r"Minutes when each was run first: all_experts \d+\.\d, .*calibration \d+\.\d; \d+\.\d in all", results
    )
    assert (tmp_path / "out" / "results" / "recipes" / "multitask-0-regmean.json").is_file()
    assert "In-domain, macro-F1 of the same answers" in results
    assert len(titles) == 7 and "RegMean's mean is" in results
    for name in (
        "all_experts-in-domain",
        "multitask",
        "heads",
        "non_iid",
        "pairwise-regmean-own",
        "growth-regmean",
        "calibration",
    ):
        assert (tmp_path / "out" / "results" / f"{name}.html").is_file(), name
    main = readme.read_text()
    assert "In-domain:" in main and "Out-of-domain:" in main and "multi-task training, s" in main
    assert "RegMean against Simple mean, in points" in main and "What differs from the paper" in main
    assert re.search(r"\| RegMean \|( \d+\.\d \(\d+\.\d to \d+\.\d\) \|){5}", main), "mean and range of every domain"
    started = time.monotonic()
    assert (
        subprocess.run([*command, "heads"], cwd=ROOT, env=environment, capture_output=True, timeout=300).returncode == 0
    )
    assert (tmp_path / "out" / "results.md").read_text() == results, f"{time.monotonic() - started:.0f} s"


def test_seconds_stand_beside_the_multitask_models(study: Study):
    row = multitask.measure_seconds(study, 0).to_dict(orient="records")[0]
    assert all(row[name] > 0 for name in ("grams", "merge", "multitask", "experts"))
    about = json.loads((study.multitask(0).directory / REPORT).read_text())
    assert row["multitask"] == about["seconds"] and about["num_examples"] == dict.fromkeys(NAMES, SMALL.num_train)
