"""Pairs, numbers and several labels a text: trained here, merged by every method, and scored by a script of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from trained_tasks import DOMAINS, TRAINED, TrainedTask, score_by_script, write_task

from fusion_ui.domains.domain import Domain
from fusion_ui.domains.loaders import load_domain
from fusion_ui.evaluation.references import expert_candidates
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.methods import METHODS
from fusion_ui.settings import Settings
from fusion_ui.workspace import Workspace

every_task = pytest.mark.parametrize("task", TRAINED.values(), ids=[*TRAINED])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name of a task -> where its experts and text lie."""
    return {name: write_task(tmp_path_factory.mktemp(name), task) for name, task in TRAINED.items()}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(Settings(cache_dir=tmp_path_factory.mktemp("cache")))


def recipe_of(task: TrainedTask, folder: Path, method: str, models: tuple[str, ...] = DOMAINS) -> MergeRecipe:
    pair = "pair" if task.counts else None
    experts = [
        {
            "name": domain,
            "model": str(folder / model),
            "calibration": {"data": str(folder / f"{domain}_calibrate.csv"), "pair_column": pair},
        }
        for domain, model in zip(DOMAINS, models, strict=True)
    ]
    heads = task.heads if models == DOMAINS else None
    return parse_recipe({"method": method, "experts": experts, "base": str(folder / "base"), "heads": heads})


def domains_of(task: TrainedTask, folder: Path) -> list[Domain]:
    pair = "pair" if task.counts else None
    found = [
        load_domain(folder / f"{domain}_report.csv", domain, pair_column=pair, has_empty_labels=not task.counts)
        for domain in DOMAINS
    ]
    return [replace(domain, metric=task.metric) for domain in found]


@every_task
def test_the_experts_learned_their_own_domain(task: TrainedTask, folders: dict[str, Path], workspace: Workspace):
    plan = workspace.plan(recipe_of(task, folders[task.name], "simple_mean"))
    evaluation = workspace.evaluation_of(domains_of(task, folders[task.name]), plan)
    rows = {row.candidate.name: row for row in workspace.evaluate([*expert_candidates(plan).values()], evaluation, [])}
    for own in DOMAINS:
        (score,) = [score for score in rows[f"expert {own}"].scores if score.domain == own]
        assert score.value > 0.8, f"{task.name}: {own}"
        assert score.value == pytest.approx(score_by_script(task, folders[task.name] / own, own), abs=1e-6)


@every_task
@pytest.mark.parametrize("method", [method.name for method in METHODS])
def test_every_merge_scores_as_a_script_of_its_own_says_of_the_exported_model(
    task: TrainedTask, method: str, folders: dict[str, Path], workspace: Workspace, tmp_path: Path
):
    plan = workspace.plan(recipe_of(task, folders[task.name], method))
    evaluation = workspace.evaluation_of(domains_of(task, folders[task.name]), plan)
    *_, found = workspace.evaluate([workspace.candidate(plan)], evaluation, [*DOMAINS])
    workspace.export(plan, tmp_path / "out")
    assert [score.metric for score in found.scores] == [task.metric] * 2
    for score in found.scores:
        expected = score_by_script(task, tmp_path / "out", score.domain)
        assert score.value == pytest.approx(expected, abs=1e-6), score.domain


@every_task
@pytest.mark.parametrize("method", ["simple_mean", "regmean"])
def test_merging_an_expert_with_itself_gives_back_its_metric(
    task: TrainedTask, method: str, folders: dict[str, Path], workspace: Workspace
):
    plan = workspace.plan(recipe_of(task, folders[task.name], method, ("books", "books")))
    domain = domains_of(task, folders[task.name])[:1]
    evaluation = workspace.evaluation_of(domain, plan)
    *_, merged = workspace.evaluate([workspace.candidate(plan)], evaluation, [])
    *_, alone = workspace.evaluate([expert_candidates(plan)["books"]], evaluation, [])
    expected = pytest.approx(alone.scores[0].value, abs=1e-6 if task.is_number else 0)
    assert merged.scores[0].value == expected


@pytest.mark.parametrize("method", ["simple_mean", "regmean"])
def test_a_row_of_the_united_head_is_the_mean_of_those_who_know_its_label(
    method: str, folders: dict[str, Path], workspace: Workspace, tmp_path: Path
):
    from transformers import AutoConfig

    task, folder = TRAINED["feelings"], folders["feelings"]
    workspace.export(workspace.plan(recipe_of(task, folder, method)), tmp_path / "out")
    names: Any = AutoConfig.from_pretrained(tmp_path / "out").id2label
    assert set(names.values()) == {"anger", "joy", "fear", "sadness"}
    merged = load_file(tmp_path / "out" / "model.safetensors")
    experts = [load_file(folder / domain / "model.safetensors") for domain in DOMAINS]
    for name in ("classifier.weight", "classifier.bias"):
        for row, label in names.items():
            known = [
                expert[name][labels.index(label)]
                for expert, labels in zip(experts, task.labels, strict=True)
                if label in labels
            ]
            assert len(known) == (2 if label in ("joy", "fear") else 1)
            torch.testing.assert_close(merged[name][row], sum(known) / len(known), rtol=1e-6, atol=1e-7)
