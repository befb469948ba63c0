"""A merge put on a hub on this machine: what arrives there, with whose token, and what is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hub_server import HubServer
from safetensors.torch import load_file
from test_export import make_recipe
from tiny_models import write_experts

from fusion_ui.errors import FusionError, MergeError, SourceError, SourceUnavailableError, StoppedError
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.sources.hub import download_model
from fusion_ui.takeaway.packing import push_folder
from fusion_ui.workspace import Workspace

TOKEN = "hf_ofTheVisitor"


@pytest.fixture
def merged(tmp_path: Path, settings: Settings) -> Path:
    workspace, out = Workspace(settings), tmp_path / "merged"
    workspace.export(workspace.plan(make_recipe(write_experts(tmp_path / "experts"), tmp_path)), out)
    return out


@pytest.fixture
def writable(hub: HubServer) -> HubServer:
    hub.writers[TOKEN] = "visitor"
    return hub


@pytest.mark.parametrize("is_private", [True, False])
def test_what_is_pushed_is_the_merge_without_paths_and_with_the_visitors_token_alone(
    merged: Path, writable: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, is_private: bool
):
    caplog.set_level(logging.DEBUG)
    seen: list[tuple[float, str]] = []
    progress = Progress(lambda fraction, message: seen.append((fraction, message)))
    address = push_folder(merged, "visitor/merge", TOKEN, is_private=is_private, progress=progress)
    assert address == f"{writable.endpoint}/visitor/merge"
    repository = writable.repositories["models", "visitor/merge"]
    assert (repository.private_token is not None) == is_private
    files = repository.commits[repository.refs["main"]]
    assert {name: files[name] for name in files if name not in ("recipe.json", ".gitattributes")} == {
        path.name: path.read_bytes() for path in merged.iterdir() if path.name != "recipe.json"
    }
    recipe = json.loads(files["recipe.json"])
    assert [expert["model"] for expert in recipe["experts"]] == ["models/expert0", "models/expert1"]
    assert not any(str(tmp_path).encode() in content for content in files.values())
    # The bytes go to a signed address, which gets no token.
    about = [r for r in writable.requests if "visitor/merge" in r.path or r.path == "/api/repos/create"]
    assert {r.token for r in about} == {TOKEN} and writable.tokens == {TOKEN, None}
    assert {r.token for r in writable.requests if r.method == "PUT"} == {None}
    assert TOKEN not in caplog.text and not any(TOKEN in message for _, message in seen)
    assert [fraction for fraction, _ in seen] == sorted(fraction for fraction, _ in seen)
    assert any(message.startswith("Uploading") for _, message in seen)
    found, _ = download_model("visitor/merge", None, TOKEN)
    assert load_file(found / "model.safetensors").keys() == load_file(merged / "model.safetensors").keys()
    push_folder(merged, "visitor/merge", TOKEN, is_private=is_private)  # a newer merge over it


def test_a_stop_ends_the_upload_before_anything_can_be_seen(merged: Path, writable: HubServer):
    def stop(fraction: float, message: str) -> None:
        if "Uploading" in message:
            progress.stop()

    progress = Progress(stop)
    with pytest.raises(StoppedError):
        push_folder(merged, "visitor/merge", TOKEN, is_private=True, progress=progress)
    repository = writable.repositories["models", "visitor/merge"]
    assert list(repository.commits[repository.refs["main"]]) == [".gitattributes"]
    assert not writable.uploads


@pytest.mark.parametrize(
    ("repository", "token", "error", "words"),
    [
        ("visitor/merge", "", SourceError, "Give a token with the right to write"),
        ("visitor/merge", "hf bad\n", SourceError, "characters that no token has"),
        ("visitor/merge", "hf_unknown", SourceUnavailableError, "does not accept the given token"),
        ("somebody/merge", TOKEN, SourceUnavailableError, "may not write the model somebody/merge"),
        ("merge", TOKEN, SourceError, "Give it as owner/name"),
        ("visitor/../x", TOKEN, SourceError, "Give it as owner/name"),
        ("visitor/thesis", TOKEN, SourceError, "holds other files"),
        ("visitor/shown", TOKEN, SourceError, "exists already and is public"),
    ],
)
def test_what_cannot_be_pushed_is_refused_in_a_sentence_without_the_token(
    merged: Path, writable: HubServer, repository: str, token: str, error: type[FusionError], words: str
):
    writable.add_model("visitor/thesis", {"thesis.md": b"years of work"}, private_token=TOKEN)
    writable.add_model("visitor/shown", {})
    with pytest.raises(error, match=words) as refused:
        push_folder(merged, repository, token, is_private=True)
    assert not token.strip() or token not in str(refused.value)
    assert refused.value.__context__ is None and not writable.uploads


def test_a_hub_that_is_gone_and_a_folder_that_is_no_merge(merged: Path, writable: HubServer, tmp_path: Path):
    with pytest.raises(MergeError, match="is no merge"):
        push_folder(tmp_path, "visitor/merge", TOKEN, is_private=True)
    writable.status = 503
    with pytest.raises(SourceUnavailableError, match="HTTP 503"):
        push_folder(merged, "visitor/merge", TOKEN, is_private=True)
    writable.close()
    with pytest.raises(SourceUnavailableError, match="cannot be reached"):
        push_folder(merged, "visitor/merge", TOKEN, is_private=True)
