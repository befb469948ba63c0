"""Models from the hub, against a server on this machine and against the cache when that server is gone."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save
from tiny_models import tiny_bert, write_model

from fusion_ui.errors import SourceError, SourceUnavailableError, StoppedError
from fusion_ui.progress import Progress
from fusion_ui.sources import hub as hub_source
from fusion_ui.sources.hub import describe_model, download_model, search_models

ROOT = Path(__file__).parent.parent


TOKEN, WRONG_TOKEN = "hf_ofTheVisitor", "hf_ofSomebodyElse"


@pytest.fixture(scope="module")
def tiny_files(tmp_path_factory) -> dict[str, bytes]:
    """A tiny BERT as the hub would hold it, with files that must never be fetched."""
    directory = write_model(tmp_path_factory.mktemp("tiny"), tiny_bert())
    files = {path.name: path.read_bytes() for path in directory.iterdir()}
    return files | {"pytorch_model.bin": b"pickle", "modeling.py": b"code", "step-1/model.safetensors": b"older"}


def large_file(num_megabytes: int) -> bytes:
    """One safetensors file with two tensors."""
    import torch

    return save({"a.weight": torch.zeros(num_megabytes, 1 << 18), "a.bias": torch.zeros(3, dtype=torch.float16)})


def names_in(path: Path) -> set[str]:
    return {file.name for file in path.iterdir()}


def test_a_search_lists_classifiers_first_then_the_others_by_downloads(hub):
    for name, downloads, task in (
        ("a/bert-base", 900, "fill-mask"),
        ("a/bert-imdb", 5, "text-classification"),
        ("b/bert-sst2", 70, "text-classification"),
        ("b/gpt", 10_000, "text-generation"),
    ):
        hub.add_model(name, {}, downloads=downloads, likes=2, task=task)
    hub.add_model("c/bert-gated", {}, TOKEN, downloads=7)
    hub.add_model("c/bert-secret", {}, private_token=TOKEN, downloads=6)
    found = search_models("bert")
    assert [model.repository for model in found] == ["b/bert-sst2", "a/bert-imdb", "a/bert-base", "c/bert-gated"]
    assert found[0] == hub_source.HubModel("b/bert-sst2", 70, 2, "text-classification", False)
    assert found[3].is_gated and found[3].task == ""
    assert [model.repository for model in search_models("bert", limit=1)] == ["b/bert-sst2"]
    assert search_models("no such thing") == ()
    assert hub.tokens == {None}
    assert "c/bert-secret" in {model.repository for model in search_models("bert", token=TOKEN)}


def test_a_description_reads_headers_alone(hub):
    weights = large_file(4)
    commit = hub.add_model("owner/model", {"config.json": b'{"model_type": "bert"}', "model.safetensors": weights})
    model = describe_model("owner/model")
    assert (model.repository, model.commit, model.config) == ("owner/model", commit, {"model_type": "bert"})
    assert model.tensors == {"a.weight": ("F32", (4, 1 << 18)), "a.bias": ("F16", (3,))}
    assert model.weight_bytes == len(weights) == model.file_sizes["model.safetensors"] > 4_000_000
    assert model.has_safetensors and not model.is_adapter and not model.is_gated
    assert hub.num_bytes < 110_000, "more than the header was served"


def test_a_description_of_shards_an_adapter_and_pickled_weights(hub):
    import torch

    shards = {f"model-0000{i}-of-00002.safetensors": save({f"w{i}": torch.zeros(i, 50_000)}) for i in (1, 2)}
    index = {"metadata": {}, "weight_map": {f"w{i}": name for i, name in enumerate(shards, 1)}}
    index_file = {"model.safetensors.index.json": json.dumps(index).encode()}
    hub.add_model("owner/sharded", {"config.json": b"{}", **shards, **index_file})
    sharded = describe_model("owner/sharded")
    assert sharded.tensors == {"w1": ("F32", (1, 50_000)), "w2": ("F32", (2, 50_000))}
    assert sharded.weight_bytes == sum(map(len, shards.values()))

    adapter = {"adapter_config.json": b'{"peft_type": "LORA"}', "adapter_model.safetensors": save({"x": torch.ones(2)})}
    hub.add_model("owner/adapter", adapter)
    described = describe_model("owner/adapter")
    assert described.is_adapter and described.adapter_config == {"peft_type": "LORA"} and described.config == {}
    assert described.tensors == {"x": ("F32", (2,))}
    path, _ = download_model("owner/adapter", None)
    assert names_in(path) == set(adapter)

    hub.add_model("owner/pickled", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    assert not describe_model("owner/pickled").has_safetensors
    with pytest.raises(SourceUnavailableError, match=r"has no \.safetensors file, the only weights that are read"):
        download_model("owner/pickled", None)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": b"[1]"}, "config.json of the model owner/model is not a JSON object"),
        ({"config.json": b"{"}, "config.json of the model owner/model is not a JSON object"),
        ({"config.json": b"[" * 100_000}, "config.json of the model owner/model is not a JSON object"),
        ({"config.json": b" " * ((16 << 20) + 1)}, "config.json of the model owner/model is too large"),
        ({"model.safetensors": b"\xff" * 64}, "has a .safetensors file that cannot be read"),
        ({"model.safetensors": b""}, "The model owner/model"),
        ({"model.safetensors.index.json": b'{"weight_map": {"w": "../../x"}}'}, "'../../x' is not there"),
        ({"model.safetensors.index.json": b'{"weight_map": {}}'}, "names 0 files"),
    ],
)
def test_damaged_and_hostile_files_are_refused_in_a_sentence(hub, files, message):
    hub.add_model("owner/model", files)
    with pytest.raises(SourceError, match=message):
        describe_model("owner/model")


def test_a_model_is_downloaded_once_pinned_and_without_code_or_pickles(hub, tiny_files):
    first = hub.add_model("owner/model", tiny_files)
    seen: list[tuple[float, str]] = []
    path, commit = download_model("owner/model", None, progress=Progress(lambda *report: seen.append(report)))
    assert commit == first == path.name
    assert names_in(path) == {
        name for name in tiny_files if name.endswith((".json", ".safetensors")) and "/" not in name
    }
    assert (path / "model.safetensors").read_bytes() == tiny_files["model.safetensors"]
    assert set(load_file(path / "model.safetensors")) == set(tiny_bert().state_dict())
    assert [fraction for fraction, _ in seen] == sorted(fraction for fraction, _ in seen)
    assert any("MB" in message for _, message in seen)

    served = hub.num_bytes
    assert download_model("owner/model", None) == (path, commit)
    assert hub.num_bytes - served < 5_000, "complete files were fetched again"

    second = hub.add_model("owner/model", tiny_files | {"config.json": b"{}"})
    assert download_model("owner/model", None)[1] == second
    assert download_model("owner/model", first) == (path, first), "a commit stays what it is"
    with pytest.raises(SourceUnavailableError, match=r"has no such revision. Give a branch, tag or commit of"):
        download_model("owner/model", "no-such-branch")


@pytest.mark.parametrize("reset", [False, True], ids=["orderly end", "reset"])
def test_a_cut_connection_is_resumed_where_it_broke(hub, monkeypatch, reset):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)
    weights = large_file(2)
    hub.add_model("owner/model", {"config.json": b"{}", "model.safetensors": weights})
    hub.cut_next("model.safetensors", after_bytes=1_500_000, reset=reset)
    path, _ = download_model("owner/model", None)
    assert (path / "model.safetensors").read_bytes() == weights
    whole, rest = hub.asked("model.safetensors", "GET")
    assert "range" not in whole.headers and whole.num_bytes == 1_500_000
    start = int(rest.headers["range"].removeprefix("bytes=").rstrip("-"))
    assert 1 << 16 <= start <= 1_500_000 and rest.num_bytes == len(weights) - start


def test_a_stop_ends_a_download_and_the_next_one_finishes_it(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)
    hub.add_model("owner/model", {"config.json": b"{}", "model.safetensors": large_file(2)})
    progress = Progress(lambda fraction, _: progress.stop() if fraction > 0.2 else None)
    with pytest.raises(StoppedError):
        download_model("owner/model", None, progress=progress)
    assert (download_model("owner/model", None)[0] / "model.safetensors").stat().st_size > 2_000_000


def test_a_gated_model_says_what_to_do_and_comes_with_the_right_token(hub, tiny_files):
    hub.add_model("owner/gated", tiny_files, gated_token=TOKEN)
    for use in (describe_model, lambda name, _=None, token=None: download_model(name, None, token)):
        with pytest.raises(SourceUnavailableError) as caught:
            use("owner/gated")
        page = f"{hub.endpoint}/owner/gated"
        assert f"is gated. Accept its licence at {page}, make a token with read access at" in str(caught.value)
        with pytest.raises(
            SourceUnavailableError, match=r"The given token has no access to it yet. Accept its licence"
        ):
            use("owner/gated", None, WRONG_TOKEN)
    hub.requests.clear()
    assert describe_model("owner/gated", token=TOKEN).is_gated
    path, _ = download_model("owner/gated", None, TOKEN)
    assert hub.tokens == {TOKEN}
    assert (path / "model.safetensors").is_file()


def test_what_one_visitor_may_read_is_not_given_to_another_from_the_cache(hub, tiny_files):
    hub.add_model("owner/gated", tiny_files, gated_token=TOKEN)
    hub.add_model("owner/private", tiny_files, private_token=TOKEN)
    for repository in ("owner/gated", "owner/private"):
        download_model(repository, None, TOKEN)
    for down in (False, True):
        if down:
            hub.close()
        for repository in ("owner/gated", "owner/private"):
            for token in (None, WRONG_TOKEN):
                with pytest.raises(SourceUnavailableError):
                    download_model(repository, None, token)
            assert download_model(repository, None, TOKEN)[0].is_dir()


def test_missing_and_private_models_are_told_alike(hub):
    hub.add_model("owner/private", {"config.json": b"{}"}, private_token=TOKEN)
    for repository in ("owner/private", "owner/missing"):
        with pytest.raises(
            SourceUnavailableError, match=r"does not exist or is private .* give a token that may read it"
        ):
            describe_model(repository)
        with pytest.raises(SourceUnavailableError, match="check that the given token is valid"):
            describe_model(repository, token=WRONG_TOKEN)
    assert describe_model("owner/private", token=TOKEN).config == {}


def test_a_token_is_in_no_message_log_or_value(hub, tiny_files, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    hub.add_model("owner/gated", tiny_files, gated_token=TOKEN)
    described = describe_model("owner/gated", token=TOKEN)
    path, _ = download_model("owner/gated", None, TOKEN)
    said = [repr(described), repr(dataclasses.asdict(described)), str(path)]
    for token in (WRONG_TOKEN, "hf_with\r\nX-Header: 1", "hf with spaces"):
        with pytest.raises(SourceError) as caught:
            download_model("owner/gated", None, token)
        said += [str(caught.value), repr(caught.value)]
        assert caught.value.__context__ is None, "the hub's error keeps the request with its headers"
    said += [record.getMessage() for record in caplog.records]
    said += [str(file) for file in tmp_path.rglob("*")]
    said += [file.read_text("latin-1") for file in tmp_path.rglob("*") if file.is_file()]
    text = "\n".join(said)
    assert not any(secret in text for secret in (TOKEN, WRONG_TOKEN, "hf_ofTheOwner", "X-Header", "with spaces"))


@pytest.mark.parametrize("down", ["closed", "503"])
def test_without_the_hub_the_cache_serves_and_else_the_message_says_what_to_do(hub, tiny_files, down):
    commit = hub.add_model("owner/model", tiny_files)
    here = download_model("owner/model", None)
    online = describe_model("owner/model")
    if down == "closed":
        hub.close()
    else:
        hub.status = 503
    assert download_model("owner/model", None) == download_model("owner/model", commit) == here
    offline = describe_model("owner/model")
    assert (offline.commit, offline.config, offline.tensors) == (commit, online.config, online.tensors)
    assert offline.weight_bytes == online.weight_bytes
    message = "Connect|connect to a network, or use what has been downloaded" if down == "closed" else "hub is down"
    for use in (describe_model, lambda name: download_model(name, None)):
        with pytest.raises(SourceUnavailableError, match=message):
            use("owner/other")
    if down == "closed":  # the client asks a hub that is down for lists again and again, some 20 s
        with pytest.raises(SourceUnavailableError, match="The list of models could not be had"):
            search_models("bert")


def test_half_a_download_is_not_taken_for_a_model(hub, monkeypatch):
    hub.add_model("owner/model", {"config.json": b"{}", "model.safetensors": large_file(1)})
    describe_model("owner/model")  # leaves the config in the cache
    hub.close()
    with pytest.raises(SourceUnavailableError, match="cannot be reached"):
        download_model("owner/model", None)


def test_another_process_honours_the_endpoint_and_never_sends_the_owners_token(hub, tiny_files, tmp_path):
    """As it is launched: nothing is patched, the token also lies where `hf auth login` puts it."""
    hub.add_model("owner/model", tiny_files, task="text-classification")
    home = tmp_path / "home"
    home.mkdir()
    (home / "token").write_text("hf_ofTheOwner")
    script = (
        "from fusion_ui.sources.hub import *; from fusion_ui.domains.hub import *;"
        "print(search_models('model')[0].repository, describe_model('owner/model').weight_bytes);"
        "print(download_model('owner/model', None)[0]);"
        "print(load_hub_domain('owner/data', 'data').texts)"
    )
    hub.add_dataset("owner/data", {"train.csv": b"text,label\nfine,1\n"})
    environment = os.environ | hub.environment(home) | {"HF_TOKEN": "hf_ofTheOwner", "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    assert "owner/model" in process.stdout and str(home) in process.stdout and "('fine',)" in process.stdout
    assert len(hub.requests) > 5 and hub.tokens == {None}
    assert not any("hf_ofTheOwner" in str(request) for request in hub.requests)
