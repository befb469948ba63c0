"""Models whose main branch has other weights than safetensors: the hub's own conversion stands for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import HubServer
from tiny_models import tiny_bert, write_model

from fusion_ui.errors import SourceUnavailableError
from fusion_ui.sources.hub import describe_model, download_model

CONVERTER = "SFconvertbot"


@pytest.fixture
def hub(monkeypatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        server.redirect(monkeypatch, tmp_path / "hub")
        yield server


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    directory = write_model(tmp_path / "tiny", tiny_bert())
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def without_safetensors(files: dict[str, bytes]) -> dict[str, bytes]:
    return {n: b for n, b in files.items() if not n.endswith(".safetensors")} | {"pytorch_model.bin": b"pickle"}


def test_the_conversion_is_described_downloaded_and_found_again_offline(hub: HubServer, files):
    main = hub.add_model("textattack/old", without_safetensors(files))
    commit = hub.add_pull_request("textattack/old", 2, files, CONVERTER)
    described = describe_model("textattack/old")
    assert described.commit == commit != main
    assert described.tensors and described.has_safetensors
    directory, revision = download_model("textattack/old", None)
    assert revision == commit and (directory / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert not (directory / "pytorch_model.bin").exists()
    hub.close()
    assert download_model("textattack/old", None)[1] == commit
    assert describe_model("textattack/old").commit == commit


def test_somebody_elses_pull_request_is_never_taken_for_it(hub: HubServer, files):
    hub.add_model("owner/old", without_safetensors(files))
    hub.add_pull_request("owner/old", 1, files, "mallory")
    with pytest.raises(SourceUnavailableError, match=r"has no \.safetensors file, the only weights that are read"):
        download_model("owner/old", None)


def test_a_revision_that_was_asked_for_is_never_replaced(hub: HubServer, files):
    hub.add_model("owner/old", without_safetensors(files))
    hub.add_pull_request("owner/old", 1, files, CONVERTER)
    with pytest.raises(SourceUnavailableError, match=r"has no \.safetensors file"):
        download_model("owner/old", "main")
    assert hub.asked("discussions") == []


def test_a_model_with_safetensors_is_never_asked_for_a_conversion(hub: HubServer, files):
    commit = hub.add_model("owner/new", files)
    hub.add_pull_request("owner/new", 1, files, CONVERTER)
    assert download_model("owner/new", None)[1] == commit
    assert hub.asked("discussions") == []
