"""The memory that strangers' models take in the server, for one visitor and for all."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_project import write_project

from fusion_ui.errors import BusyError, MergeError
from fusion_ui.projects.building import blank_project
from fusion_ui.projects.project import Project
from fusion_ui.settings import Settings
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.loading import Loading
from fusion_ui.ui.request import default_request
from fusion_ui.ui.taking_away import TakingAway
from fusion_ui.workspace import Workspace


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> list[Project]:
    return [write_project(tmp_path_factory.mktemp("made"), 2) for _ in range(2)]


def weights(project: Project) -> int:
    return sum(file.stat().st_size for expert in project.experts for file in expert.model.glob("*.safetensors"))


def limited(folder: Path, one: int, every: int) -> Settings:
    given = Settings(cache_dir=folder, host="0.0.0.0", num_threads=1)
    return given.model_copy(update={"max_loaded_bytes_per_visitor": one, "max_loaded_bytes": every})


def test_what_is_too_large_for_one_visitor_is_never_computed_with(projects: list[Project], tmp_path: Path):
    size = weights(projects[0])
    handlers = Handlers(Workspace(limited(tmp_path, size - 1, 10 * size)), blank_project())
    session = handlers.sessions.get("me")
    session.show(projects[0], default_request(projects[0]))
    with pytest.raises(MergeError, match=r"most here for one visitor\. Remove a model") as caught:
        list(handlers.run("me"))
    assert str(caught.value).endswith(".") and str(tmp_path) not in str(caught.value)
    with pytest.raises(MergeError, match="most here for one visitor"):
        list(TakingAway(handlers).follow(session, lambda _: pytest.fail("it was computed with")))


def test_of_all_together_the_last_is_refused_until_another_has_ended(projects: list[Project], tmp_path: Path):
    first, second = projects
    size = weights(first)
    loading = Loading(limited(tmp_path, size, 2 * size - 1), blank_project())
    with loading.hold(first):
        with loading.hold(first):  # the same models, as another tab has them, are there once
            pass
        with pytest.raises(BusyError, match=r"More people are here .* Try again"), loading.hold(second):
            pass
        with loading.hold(first):
            pass
    with loading.hold(second):
        pass
    assert not loading._sizes and not +loading._held


def test_the_demo_and_the_person_at_this_machine_hold_nothing(projects: list[Project], tmp_path: Path):
    with Loading(limited(tmp_path, 1, 1), projects[0]).hold(projects[0]):
        pass
    alone = limited(tmp_path, 1, 1).model_copy(update={"host": "127.0.0.1"})
    with Loading(alone, blank_project()).hold(projects[0]):
        pass
