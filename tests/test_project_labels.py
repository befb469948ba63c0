"""Labels of a project's models and data under shared names: the table, its edits, and what they lead to."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_building import checkpoint, domain

from fusion_ui.errors import RecipeError
from fusion_ui.projects.building import add_domain, add_expert, blank_project
from fusion_ui.projects.labels import explain_labels, label_names, label_table, rename_labels
from fusion_ui.projects.project import Project, read_split
from fusion_ui.ui.request import default_request


@pytest.fixture
def project(tmp_path: Path) -> Project:
    found, _ = add_expert(blank_project(), "a", checkpoint(tmp_path / "one", labels=("LABEL_0", "LABEL_1")))
    found, _ = add_expert(found, "b", checkpoint(tmp_path / "second", labels=("negative", "positive")))
    return add_domain(found, "a", domain("a"), tmp_path / "domains")[0]


def test_the_table_lists_models_and_data_and_says_why_heads_differ(project: Project):
    assert label_table(project) == [
        ("a", "LABEL_0", "LABEL_0"),
        ("a", "LABEL_1", "LABEL_1"),
        ("b", "negative", "negative"),
        ("b", "positive", "positive"),
        ("a (data)", "negative", "negative"),
        ("a (data)", "positive", "positive"),
    ]
    assert "a and b cannot share one head" in explain_labels(project)


def edit(project: Project, *changes: tuple[int, str]) -> Project:
    rows = [list(row) for row in label_table(project)]
    for row, name in changes:
        rows[row][2] = name
    return rename_labels(project, rows)


def test_renamed_labels_reach_the_recipe_the_scores_and_the_explanation(project: Project):
    named = edit(project, (0, "negative"), (1, " positive "))
    assert explain_labels(named) == "One head answers with 2 labels, matched by name: negative, positive."
    assert label_names(named.experts[0]) == ("negative", "positive")
    recipe = default_request(named).recipe(named, "regmean")
    assert recipe.experts[0].labels == {"LABEL_0": "negative", "LABEL_1": "positive"} and not recipe.experts[1].labels
    assert edit(named, (0, "LABEL_0"), (1, "LABEL_1")) == project


def test_labels_of_data_may_become_one(project: Project):
    joined = edit(project, (4, "bad"), (5, "bad"))
    assert set(read_split(joined.domains[0], "report").labels) == {"bad"}
    assert set(read_split(project.domains[0], "report").labels) == {"negative", "positive"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([(0, " ")], "label 'LABEL_0' of a needs a name"),
        ([(0, "x"), (1, "X")], "Two labels of a would be called 'x'"),
    ],
)
def test_a_table_that_says_nothing_sensible_is_refused(project: Project, changes: list, words: str):
    with pytest.raises(RecipeError, match=words):
        edit(project, *changes)


@pytest.mark.parametrize("rows", [[], [["a", "other", "x"]], [["a", "LABEL_0", "x"]] * 6])
def test_a_table_of_another_project_is_refused(project: Project, rows: list):
    with pytest.raises(RecipeError, match="not this project's any more"):
        rename_labels(project, rows)
