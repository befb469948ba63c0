"""Models that a person names: weighed first, fetched then, as an expert or as the base of the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import HubServer
from test_adapters import write_adapter
from test_base import save_language_model
from test_building import checkpoint
from tiny_models import tiny_bert, tiny_gpt2, write_model

from fusion_ui.errors import CheckpointError, IncompatibleError
from fusion_ui.progress import Progress
from fusion_ui.projects.building import BASE, add_expert, blank_project, remove, use_base
from fusion_ui.projects.fetching import check_addition, fetch_model, receive_model
from fusion_ui.projects.project import Project


@pytest.fixture
def hub(monkeypatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        server.redirect(monkeypatch, tmp_path / "hub")
        yield server


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return add_expert(blank_project(), "a", checkpoint(tmp_path / "one"))[0]


def publish(hub: HubServer, name: str, directory: Path) -> None:
    hub.add_model(name, {path.name: path.read_bytes() for path in directory.iterdir()})


def test_what_does_not_fit_is_refused_before_its_weights_are_fetched(hub, project, settings, tmp_path: Path):
    publish(hub, "owner/other", write_model(tmp_path / "other", tiny_gpt2()))
    assert "their architectures differ" in check_addition(project, "owner/other", settings).problems[0]
    with pytest.raises(CheckpointError, match="their architectures differ"):
        fetch_model(project, "owner/other", "", settings, Progress())
    assert not list((tmp_path / "hub").rglob("*.safetensors"))


def test_a_small_adapter_brings_no_base_that_is_too_large(hub, settings, tmp_path: Path):
    publish(hub, "owner/base", write_model(tmp_path / "base", tiny_bert(0)))
    write_adapter(tmp_path / "adapter", Path("owner/base"))
    files = [str(file) for file in (tmp_path / "adapter").iterdir() if file.suffix != ".md"]
    small = settings.model_copy(update={"max_model_bytes": 12_000})
    assert sum(Path(file).stat().st_size for file in files) < 12_000
    with pytest.raises(CheckpointError, match="is the most here"):
        receive_model(files, "mine", tmp_path / "visitor", small, Progress())
    assert not list((tmp_path / "hub").rglob("*.safetensors")) and not list((tmp_path / "visitor").iterdir())
    found = receive_model(files, "mine", tmp_path / "visitor", settings, Progress())
    assert found.directory.is_relative_to(tmp_path / "visitor"), "it would outlive its owner"


def test_a_model_larger_than_this_place_takes_is_refused(hub, project, settings, tmp_path: Path):
    publish(hub, "owner/wide", write_model(tmp_path / "wide", tiny_bert(1)))
    small = settings.model_copy(update={"max_model_bytes": 1000})
    with pytest.raises(CheckpointError, match=r"owner/wide has 18\.\d KB of weights, and 1 KB is the most here"):
        fetch_model(project, "owner/wide", "", small, Progress())


def test_a_model_that_fits_is_weighed_fetched_and_tried(hub, project, settings, tmp_path: Path):
    publish(hub, "owner/fits", write_model(tmp_path / "fits", tiny_bert(1)))
    weighed = check_addition(project, "owner/fits", settings)
    assert weighed.problems == () and weighed.download_bytes > 0
    found = fetch_model(project, "owner/fits", "", settings, Progress())
    assert found.source == "owner/fits" and found.revision
    assert check_addition(project, "owner/fits", settings).download_bytes == 0


def test_a_language_model_becomes_the_base_and_another_model_does_not(hub, project, settings, tmp_path: Path):
    publish(hub, "owner/base", save_language_model(tmp_path / "base"))
    found = fetch_model(project, "owner/base", "", settings, Progress(), is_base=True)
    based = use_base(project, found)
    assert based.base == found.directory and based.base_source == f"{found.source}@{found.revision}"
    assert remove(based, BASE) == project
    wrong = checkpoint(tmp_path / "wrong", hidden_size=32)
    with pytest.raises(IncompatibleError, match="owner/wrong is not the base of a"):
        use_base(project, wrong)
