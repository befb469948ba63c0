"""Plans: what a recipe names is found or refused, and the key tells apart whatever changes the merge."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_models import random_texts, tiny_bert, tiny_gpt2, write_data, write_experts, write_model

from fusion_ui.errors import CheckpointError, DomainError, IncompatibleError, ParameterError, RecipeError
from fusion_ui.execution import Job
from fusion_ui.merging.plan import MergePlan, make_plan
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.settings import Settings, read_settings
from fusion_ui.statistics.bundle import write_statistic
from fusion_ui.statistics.measure import measure
from fusion_ui.statistics.statistic import StatisticKind, StatisticSettings
from fusion_ui.workspace import Workspace


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_experts(tmp_path_factory.mktemp("experts"), 3)


def tiny_recipe(models: list[Path], folder: Path, *, seed: int = 0, **change: Any) -> MergeRecipe:
    """A recipe of real directories, each expert with text of its own in `folder`."""
    data = [write_data(folder / f"{model.name}.csv", seed=seed + i) for i, model in enumerate(models)]
    entries = [
        {"name": model.name, "model": str(model), "calibration": {"data": str(path)}}
        for model, path in zip(models, data, strict=True)
    ]
    values = {"method": "regmean", "parameters": {"alpha": 0.5}, "statistics": {"num_examples": 6}}
    return parse_recipe(values | {"experts": entries} | change)


def plan_of(found: MergeRecipe) -> MergePlan:
    return make_plan(found, read_settings())


def key_of(found: MergeRecipe) -> str:
    return plan_of(found).key


def test_the_key_changes_with_everything_that_changes_the_merge(experts: list[Path], tmp_path: Path):
    plain = tiny_recipe(experts[:2], tmp_path)
    other = plain.experts[0].model_copy(update={"weight": 2.0})
    keys = [
        key_of(plain),
        key_of(plain.with_parameters(alpha=0.6)),
        key_of(plain.model_copy(update={"experts": (other, plain.experts[1])})),
        key_of(plain.model_copy(update={"base": str(experts[2])})),
        key_of(tiny_recipe(experts[1:], tmp_path)),
        key_of(tiny_recipe(experts[:2], tmp_path, statistics={"num_examples": 7})),
        key_of(tiny_recipe(experts[:2], tmp_path, statistics={"num_examples": 6, "seed": 1})),
        key_of(tiny_recipe(experts[:2], tmp_path, method="simple_mean", parameters={})),
        key_of(tiny_recipe(experts[:2], tmp_path, method="fisher", parameters={})),
        key_of(tiny_recipe(experts[:2], tmp_path, seed=10)),  # last: it writes other text into the same files
    ]
    assert len(set(keys)) == len(keys)


def test_the_key_changes_with_a_statistics_file(experts: list[Path], tmp_path: Path):
    plan = plan_of(tiny_recipe(experts[:1], tmp_path))
    settings, keys = Settings(cache_dir=tmp_path / "cache"), []
    for num_examples in (3, 4):
        how = StatisticSettings(num_examples)
        statistic = measure(plan.experts[0], plan.calibration[0], StatisticKind.GRAM, how, settings)
        write_statistic(tmp_path / "gram.safetensors", statistic)
        calibration = {"statistics": str(tmp_path / "gram.safetensors")}
        entry = {"name": "a", "model": str(experts[0]), "calibration": calibration}
        keys.append(key_of(parse_recipe({"method": "regmean", "experts": [entry]})))
    assert keys[0] != keys[1]


def test_the_key_changes_with_the_tokenizer_that_reads_an_experts_text(experts: list[Path], tmp_path: Path):
    # The same text in other tokens gives other Grams, so the merge is another one.
    copy = Path(shutil.copytree(experts[1], tmp_path / "copy"))
    before = key_of(tiny_recipe([experts[0], copy], tmp_path))
    file = copy / "tokenizer.json"
    file.write_text(file.read_text().replace('"w7"', '"w_7"'))
    assert key_of(tiny_recipe([experts[0], copy], tmp_path)) != before


def test_the_key_does_not_change_with_paths_or_names(experts: list[Path], tmp_path: Path):
    copies = [Path(shutil.copytree(model, tmp_path / "elsewhere" / f"x{model.name}")) for model in experts[:2]]
    assert key_of(tiny_recipe(copies, tmp_path)) == key_of(tiny_recipe(experts[:2], tmp_path))


def test_only_the_parameters_tell_two_merges_of_a_family_apart(experts: list[Path], tmp_path: Path):
    plan: MergePlan = plan_of(tiny_recipe(experts[:2], tmp_path))
    other = plan.with_parameters(alpha=0.9)
    assert (plan.family_key == other.family_key, plan.key == other.key) == (True, False)
    assert plan.with_parameters(alpha=0.5).key == plan.key
    with pytest.raises(ParameterError):
        plan.with_parameters(alpha=-1)


def test_what_a_plan_cannot_find_is_named(experts: list[Path], tmp_path: Path):
    plain = tiny_recipe(experts[:2], tmp_path)

    def change(**update: Any) -> MergeRecipe:
        return plain.model_copy(update={"experts": (plain.experts[0].model_copy(update=update), plain.experts[1])})

    empty = tmp_path / "empty"
    empty.mkdir()
    missing = plain.experts[0].calibration.model_copy(update={"data": str(tmp_path / "missing.csv")})
    for found, kind, message in (
        (change(model=str(tmp_path / "nowhere")), CheckpointError, "expert0 was not found"),
        (change(model="x" * 5000), CheckpointError, "expert0 was not found"),  # longer than any path may be
        (change(model=str(empty)), CheckpointError, "config.json cannot be read"),
        (change(calibration=None), RecipeError, "RegMean needs calibration data for expert0"),
        (change(calibration=missing), DomainError, "missing.csv does not exist"),
    ):
        with pytest.raises(kind, match=message):
            plan_of(found)


def test_experts_of_another_architecture_or_shape_are_refused_naming_both(experts: list[Path], tmp_path: Path):
    architecture = write_model(tmp_path / "architecture", tiny_gpt2())
    wider = write_model(tmp_path / "wider", tiny_bert(hidden_size=32))
    for other, what, against_base in (
        (architecture, r"their architectures differ \(BertFor.* against GPT2For.*\)", "it has 0% of its weights"),
        (wider, "they differ in width 16 against 32, feed-forward width 32 against 64", "has shape"),
    ):
        with pytest.raises(IncompatibleError, match=f"expert0 and {other.name} cannot be merged: {what}"):
            plan_of(tiny_recipe([experts[0], other], tmp_path))
        with pytest.raises(IncompatibleError, match=f"base is not the base of expert0: .*{against_base}"):
            plan_of(tiny_recipe([experts[0]], tmp_path, base=str(other)))


def test_a_config_without_label_names_means_the_usual_ones(experts: list[Path], tmp_path: Path):
    # transformers writes no id2label where there are two labels and nobody named them.
    copy = Path(shutil.copytree(experts[0], tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    del config["id2label"], config["label2id"]
    (copy / "config.json").write_text(json.dumps(config))
    plan = plan_of(tiny_recipe([copy], tmp_path))
    assert plan.experts[0].label_names == ("LABEL_0", "LABEL_1")


def test_code_that_comes_with_a_model_is_refused(experts: list[Path], tmp_path: Path):
    copy = Path(shutil.copytree(experts[0], tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text()) | {"auto_map": {"AutoModel": "modeling.Model"}}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="asks to run code"):
        plan_of(tiny_recipe([experts[1], copy], tmp_path))


def test_text_needs_no_labels_to_be_measured(experts: list[Path], tmp_path: Path):
    plain = tiny_recipe(experts[:1], tmp_path)
    Path(plain.experts[0].calibration.data).write_text("text\n" + "\n".join(random_texts(4)) + "\n")
    assert plan_of(plain).calibration[0].texts == random_texts(4)


@pytest.mark.timeout(60)
def test_idle_work_never_keeps_urgent_work_from_measuring(experts: list[Path], tmp_path: Path, settings: Settings):
    workspace = Workspace(settings)
    plan = workspace.plan(tiny_recipe(experts[:2], tmp_path))
    with workspace.turns.urgent():
        # The curve of an older state begins to measure, and holds the lock that only one measurement may have.
        idle = Job(lambda progress: workspace.prepare(plan, progress), lambda _: workspace.turns.idle_progress())
        time.sleep(0.5)
        workspace.measure(plan, workspace.turns.urgent_progress())
    assert workspace.is_measured(plan)
    for _ in idle.follow():
        pass
