"""What a stranger fetched: private models go with their visitor, and of public ones the latest used stay."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import HubServer
from tiny_models import tiny_bert, write_data, write_model

from fusion_ui.errors import FusionError
from fusion_ui.projects.building import blank_project
from fusion_ui.projects.data import DataPlace
from fusion_ui.settings import Settings
from fusion_ui.sources.hub_access import is_behind_token
from fusion_ui.sources.hub_download import download_model
from fusion_ui.ui.bringing import Bringing
from fusion_ui.ui.fetched import projects_of, trim_fetched
from fusion_ui.ui.handlers import Handlers
from fusion_ui.workspace import Workspace

TOKEN = "hf_of_the_first"


@pytest.fixture
def hub(monkeypatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        server.redirect(monkeypatch, tmp_path / "hub")
        yield server


@pytest.fixture
def bringing(tmp_path: Path) -> Bringing:
    handlers = Handlers(Workspace(Settings(cache_dir=tmp_path / "cache", host="0.0.0.0")), blank_project())
    return Bringing(handlers.workspace, handlers.sessions, handlers.project)


def publish(hub: HubServer, name: str, directory: Path, token: str | None = None) -> None:
    hub.add_model(name, {path.name: path.read_bytes() for path in directory.iterdir()}, private_token=token)


def test_a_private_model_lies_with_its_visitor_and_goes_with_them(hub: HubServer, bringing: Bringing, tmp_path: Path):
    publish(hub, "owner/private", write_model(tmp_path / "model", tiny_bert()), TOKEN)
    (*_, said) = bringing.add_model("first", "owner/private", [], "", TOKEN, False)
    assert str(said[0]).startswith("Added ")
    session = bringing.sessions.get("first")
    (expert,) = session.own.experts
    assert session.folder and expert.model.is_relative_to(session.folder) and is_behind_token(expert.model)
    assert not (tmp_path / "hub" / "by-token").exists(), "it would outlive its visitor"
    *_, said = bringing.check_model("first", "owner/private", TOKEN)
    assert not (tmp_path / "hub" / "by-token").exists()
    for token in ("", "hf_of_the_second"):
        with pytest.raises(FusionError, match="private"):
            list(bringing.add_model("second", "owner/private", [], "", token, False))
    hub.close()  # and what is here is found by nobody else, whatever they say
    with pytest.raises(FusionError, match=r"(could not|cannot) be reached"):
        list(bringing.add_model("second", "owner/private", [], "", TOKEN, False))
    bringing.sessions.forget("first")
    assert not session.folder.exists()


def test_a_private_data_set_is_kept_in_no_cache(hub: HubServer, bringing: Bringing, tmp_path: Path, monkeypatch):
    content = write_data(tmp_path / "a.csv", 60).read_bytes()
    hub.add_dataset("owner/data", {"train.csv": content}, private_token=TOKEN)
    for name, value in hub.environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    place = DataPlace(None, "owner/data", token=TOKEN)
    *_, said = bringing.add_data("first", place, "", ("text", None, "label"))
    assert str(said[0]).startswith("Added ")
    assert not list((tmp_path / "cache" / "datasets").glob("*.json"))


def test_of_public_models_the_latest_used_and_all_in_use_stay(hub: HubServer, bringing: Bringing, tmp_path: Path):
    model = write_model(tmp_path / "model", tiny_bert())
    cache = tmp_path / "hub"
    for number, name in enumerate(("used", "old", "new")):
        publish(hub, f"owner/{name}", model)
        if name == "used":
            list(bringing.add_model("first", f"owner/{name}", [], "", "", False))
        else:
            download_model(f"owner/{name}", None)
        for path in (cache / f"models--owner--{name}").rglob("*"):
            os.utime(path, times=(0, time.time() - 10_000 + number), follow_symlinks=False)
        os.utime(cache / f"models--owner--{name}", times=(0, time.time() - 10_000 + number))
    projects = [*projects_of(bringing.sessions.all(), blank_project())]
    assert trim_fetched(cache, 1 << 30, projects, 60) == [], "there is room"
    assert trim_fetched(cache, 0, projects, 1e6) == [], "it may be on its way"
    size = sum(file.stat().st_size for file in model.iterdir())
    removed = trim_fetched(cache, 2 * size + size // 2, projects, 60)
    assert [path.name for path in removed] == ["models--owner--old"]
    download_model("owner/new", None)  # found here, and used again
    assert trim_fetched(cache, 0, projects, 60) == []
    bringing.sessions.forget("first")
    projects = [*projects_of(bringing.sessions.all(), blank_project())]
    assert [path.name for path in trim_fetched(cache, 0, projects, 60)] == ["models--owner--used"]
