"""What an attacker gives is refused with a sentence: no code is run, little time and memory is used, nothing stays."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import hostile_files as hostile
import pytest
from tiny_models import tiny_bert, write_model

from fusion_ui.checkpoints import trial
from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.finding import find_checkpoint
from fusion_ui.checkpoints.limits import ModelLimits, check_untrusted
from fusion_ui.checkpoints.trial import try_in_child
from fusion_ui.child import ChildLimits, environment
from fusion_ui.errors import CheckpointError, FusionError, SourceError, StoppedError
from fusion_ui.progress import Progress
from fusion_ui.sources.hub import is_repository_id
from fusion_ui.sources.upload import UploadLimits, receive_upload
from fusion_ui.tasks import load_model


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("made") / "model", tiny_bert())


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """A good model of this test's own, to spoil."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def assert_sentence(error: BaseException) -> None:
    text = str(error)
    assert isinstance(error, FusionError) and text.endswith(".") and text.isprintable() and 20 < len(text) < 700, text


@contextmanager
def refused(kind: type[FusionError], root: Path, match: str | None = None, seconds: float = 5.0) -> Iterator[None]:
    """The block ends with a sentence, soon, and the files below `root` are the same afterwards."""
    before = sorted(root.rglob("*"))
    start = time.perf_counter()
    with pytest.raises(kind, match=match) as caught:
        yield
    assert time.perf_counter() - start < seconds
    assert_sentence(caught.value)
    assert sorted(root.rglob("*")) == before


# ids -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", hostile.IDS, ids=lambda text: repr(text[:20]))
def test_no_text_but_owner_and_name_reaches_the_hub(text: str, settings, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        "fusion_ui.checkpoints.finding.download_model", lambda *_, **__: pytest.fail("the hub was asked")
    )
    monkeypatch.chdir(tmp_path)
    assert not is_repository_id(text)
    with pytest.raises(CheckpointError):
        assert find_checkpoint("mine", text, settings).config


# uploads -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", hostile.HOSTILE_NAMES, ids=repr)
def test_a_name_that_leaves_the_folder_is_refused(name: str, model: Path, tmp_path: Path):
    with refused(SourceError, tmp_path, "no plain name"):
        receive_upload([*model.iterdir(), (name, model / "config.json")], tmp_path / "mine")
    if name:  # zipfile itself writes no name with a zero in it
        archive = hostile.write_zip(tmp_path / "a.zip", {**files_of(model), name.replace("\x00", "%"): b"x"})
        archive.write_bytes(archive.read_bytes().replace(name.replace("\x00", "%").encode(), name.encode()))
        with refused(SourceError, tmp_path, "no plain name"):
            receive_upload([archive], tmp_path / "mine")


ZIPS = {
    "bomb": (lambda p: hostile.write_bomb(p, 64 << 20), "too large"),
    "told sizes are wrong": (hostile.write_liar, "cannot be unpacked"),
    "link": (hostile.write_link, "a link"),
    "password": (hostile.write_locked, "password"),
    "damaged": (hostile.write_damaged, "cannot be unpacked"),
    "no zip": (lambda p: p.write_bytes(b"MZ evil"), "cannot be unpacked"),
    "empty": (lambda p: p.write_bytes(b""), "cannot be unpacked"),
    "zip in a zip": (lambda p: hostile.write_zip(p, {"model.safetensors": b"", "more.zip": b"PK"}), "archive more.zip"),
    "many files": (lambda p: hostile.write_zip(p, {f"{i}.txt": b"" for i in range(201)}), "201 files"),
    "long list": (
        lambda p: hostile.write_zip(p, {f"{i}" + "a" * 30_000: b"" for i in range(40)}),
        "list of files takes",
    ),
    "99,999 parts": (
        lambda p: hostile.write_zip(p, {"config.json": b"{}", "model-00001-of-99999.safetensors": b"x"}),
        "1 of the 99999 parts",
    ),
    "no weights": (lambda p: hostile.write_zip(p, {"config.json": b"{}"}), "it has none"),
    "model and adapter": (
        lambda p: hostile.write_zip(p, {"model.safetensors": b"", "adapter_config.json": b"{}"}),
        "a whole model and an adapter",
    ),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_hostile_zip_is_refused(name: str, tmp_path: Path):
    make, match = ZIPS[name]
    make(tmp_path / "a.zip")
    tracemalloc.start()
    try:
        with refused(SourceError, tmp_path, match):
            receive_upload([tmp_path / "a.zip"], tmp_path / "mine")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_files_beyond_a_limit_are_refused(model: Path, tmp_path: Path):
    files = sorted(model.iterdir())
    for limits, match in (
        (UploadLimits(max_files=2), "at most 2"),
        (UploadLimits(max_bytes=1000), "at most 0 MiB"),
        (UploadLimits(max_text_bytes=10), "too large"),
        (UploadLimits(min_free_bytes=1 << 60), "disk"),
    ):
        with refused(SourceError, tmp_path, match):
            receive_upload(files, tmp_path / "mine", limits)
    with refused(SourceError, tmp_path, "more than once"):
        receive_upload([*files, model / "config.json"], tmp_path / "mine")
    with refused(SourceError, tmp_path, "archive a.tar.gz"):
        receive_upload([*files, ("a.tar.gz", model / "config.json")], tmp_path / "mine")
    with refused(SourceError, tmp_path, "it has none"):
        receive_upload([], tmp_path / "mine")


def test_a_refusal_leaves_the_model_that_was_there(model: Path, tmp_path: Path):
    before = files_of(model)
    with refused(SourceError, tmp_path, "too large"):
        receive_upload([*model.iterdir()], model, UploadLimits(max_text_bytes=10))
    assert files_of(model) == before


@pytest.mark.parametrize("text", hostile.TEXTS, ids=lambda text: repr(text[:12]))
def test_hostile_text_stays_text(text: str, model: Path, tmp_path: Path):
    """In the sentence of a refusal it is short and printable; as a label it is refused or kept letter by letter."""
    with refused(SourceError, tmp_path):
        receive_upload([(text + ".bin", model / "config.json")], tmp_path / "mine")
    with refused(CheckpointError, tmp_path):
        check_untrusted(model, ModelLimits(max_layers=0), name=text)
    hostile.change_json(model / "config.json", {"id2label": {"0": text, "1": "other"}})
    try:
        check_untrusted(model)
    except CheckpointError as error:
        assert_sentence(error)
        assert len(text) > 200 or not text.isprintable()
    else:
        assert Checkpoint("mine", model, "mine").label_names == (text, "other")


# code ----------------------------------------------------------------------------------------------------------------


def test_pickled_weights_are_neither_kept_nor_read(model: Path, tmp_path: Path):
    control, marker = tmp_path / "control", tmp_path / "marker"
    pickle.loads(hostile.malicious_pickle(control))
    assert control.exists(), "the fixture would not run code if it were read"
    content = hostile.malicious_pickle(marker)
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    config = model / "config.json"
    with refused(SourceError, tmp_path, r"pytorch_model\.bin can run code .* safe_serialization=True"):
        receive_upload([tmp_path / "pytorch_model.bin", config], tmp_path / "mine")
    archive = hostile.write_zip(tmp_path / "a.zip", {"m/pytorch_model.bin": content, "m/config.json": b"{}"})
    with refused(SourceError, tmp_path, "can run code"):
        receive_upload([archive], tmp_path / "mine")
    received = receive_upload([*model.iterdir(), tmp_path / "pytorch_model.bin"], tmp_path / "mine")
    assert not list(received.glob("*.bin"))

    # As the only weights of a directory that somebody names, and under the name of safe ones.
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(content)
    with refused(CheckpointError, tmp_path, r"no model\.safetensors"):
        check_untrusted(model)
    with refused(CheckpointError, tmp_path):
        load_model(Checkpoint("mine", model, "mine"))
    (model / "pytorch_model.bin").rename(model / "model.safetensors")
    with refused(CheckpointError, tmp_path, "no safetensors file"):
        check_untrusted(model)
    assert not marker.exists()


def spoil_with_code(model: Path, marker: Path) -> None:
    """Code under every name under which something might import it."""
    for name in ("evil", "torch", "transformers", "sitecustomize"):
        (model / f"{name}.py").write_text(hostile.code_that_marks(marker))
    hostile.change_json(model / "config.json", {"auto_map": {"AutoModelForSequenceClassification": "evil.Model"}})
    hostile.change_json(model / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}})


def test_code_that_came_with_a_model_is_neither_kept_nor_run(model: Path, tmp_path: Path):
    control, marker = tmp_path / "control", tmp_path / "marker"
    exec(hostile.code_that_marks(control), {})
    assert control.exists(), "the fixture would not mark if it were run"
    spoil_with_code(model, marker)
    received = receive_upload([*model.iterdir()], tmp_path / "mine")
    assert not list(received.glob("*.py"))
    for directory in (model, received):
        with refused(CheckpointError, tmp_path, "auto_map"):
            check_untrusted(directory)
        with refused(CheckpointError, tmp_path, "auto_map"):
            load_model(Checkpoint("mine", directory, "mine"))
    assert not marker.exists()


# configurations, tokenizers, adapters --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", hostile.HOSTILE_CONFIGS)
def test_a_hostile_configuration_is_refused(name: str, model: Path):
    change = hostile.HOSTILE_CONFIGS[name]
    hostile.change_json(model / "config.json", change)
    with refused(CheckpointError, model, next(iter(change)), seconds=1):
        check_untrusted(model)


@pytest.mark.parametrize("name", hostile.BROKEN_JSON)
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "model.safetensors.index.json"])
def test_broken_json_is_refused(name: str, file: str, model: Path):
    if file == "tokenizer_config.json" and name == "not a number":
        return  # a tokenizer's numbers size nothing
    (model / file).write_bytes(hostile.BROKEN_JSON[name])
    if file.endswith("index.json"):
        (model / "model.safetensors").unlink()
    with refused(CheckpointError, model, "json", seconds=2):
        check_untrusted(model)


@pytest.mark.parametrize("name", hostile.HOSTILE_TOKENIZER_CONFIGS)
def test_a_hostile_tokenizer_configuration_is_refused(name: str, model: Path):
    change = hostile.HOSTILE_TOKENIZER_CONFIGS[name]
    hostile.change_json(model / "tokenizer_config.json", change)
    with refused(CheckpointError, model, next(iter(change)), seconds=1):
        check_untrusted(model)


def test_a_huge_tokenizer_file_is_refused_unread(model: Path):
    with (model / "tokenizer.json").open("r+b") as file:
        file.truncate(1 << 40)  # a hole, which takes no room
    with refused(CheckpointError, model, "tokenizer.json has more than 48 MiB", seconds=1):
        check_untrusted(model)


@pytest.mark.parametrize("name", hostile.HOSTILE_ADAPTERS)
def test_a_hostile_adapter_is_refused(name: str, tmp_path: Path):
    good = {"peft_type": "LORA", "r": 2, "target_modules": ["query"], "base_model_name_or_path": "owner/name"}
    hostile.change_json(tmp_path / "adapter_config.json", good)
    header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    (tmp_path / "adapter_model.safetensors").write_bytes(hostile.safetensors_bytes(header, b"\x00" * 4))
    check_untrusted(tmp_path)
    change = hostile.HOSTILE_ADAPTERS[name]
    hostile.change_json(tmp_path / "adapter_config.json", change)
    with refused(CheckpointError, tmp_path, next(iter(change)), seconds=1):
        check_untrusted(tmp_path)


def test_an_adapter_beside_a_model_is_refused(model: Path):
    # transformers would load the adapter too, whatever it holds.
    hostile.change_json(model / "adapter_config.json", {"peft_type": "LORA"})
    with refused(CheckpointError, model, "a whole model and an adapter"):
        check_untrusted(model)


# weights and links ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", hostile.HOSTILE_WEIGHTS)
def test_hostile_weights_are_refused(name: str, model: Path):
    (model / "model.safetensors").write_bytes(hostile.HOSTILE_WEIGHTS[name]())
    with refused(CheckpointError, model, r"model\.safetensors", seconds=3):
        check_untrusted(model)


@pytest.mark.parametrize(
    "places",
    [
        {"a": "../../etc/passwd"},
        {"a": "/etc/passwd"},
        {"a": "pytorch_model.bin"},
        {"a": "model-00001-of-00001.safetensors", "b": "model-00001-of-00001.safetensors"},
        {"a": ["model-00001-of-00001.safetensors"]},
        {f"t{i}": f"model-{i:05d}-of-00100.safetensors" for i in range(100)},
        ["model-00001-of-00001.safetensors"],
    ],
    ids=["parent", "absolute", "pickle", "another tensor", "list", "many parts", "no object"],
)
def test_an_index_that_leads_elsewhere_is_refused(places: object, model: Path):
    (model / "model.safetensors").unlink()
    header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    part = model / "model-00001-of-00001.safetensors"
    part.write_bytes(hostile.safetensors_bytes(header, b"\x00" * 4))
    index = model / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": part.name}}))
    check_untrusted(model)
    index.write_text(json.dumps({"weight_map": places}))
    with refused(CheckpointError, model, "index"):
        check_untrusted(model)


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret.txt", "tokenizer_config.json/..", "vocab.txt", "missing"])
@pytest.mark.parametrize("allow_links", [False, True])
def test_a_link_out_of_the_directory_is_refused(target: str, allow_links: bool, model: Path):
    (model.parent / "secret.txt").write_text("secret")
    (model / "vocab.txt").unlink(missing_ok=True)
    (model / "vocab.txt").symlink_to(target)
    with refused(CheckpointError, model):
        check_untrusted(model, allow_links=allow_links)


def test_links_of_the_hubs_cache_are_refused_where_no_cache_is_meant(model: Path, tmp_path: Path):
    snapshot = tmp_path / "snapshots" / "abc"
    (tmp_path / "blobs").mkdir()
    shutil.copytree(model, snapshot)
    (snapshot / "config.json").rename(tmp_path / "blobs" / "1")
    (snapshot / "config.json").symlink_to("../../blobs/1")
    check_untrusted(snapshot, allow_links=True)
    with refused(CheckpointError, tmp_path, "link"):
        check_untrusted(snapshot)


def test_a_pipe_is_not_waited_for(model: Path):
    (model / "tokenizer_config.json").unlink()
    os.mkfifo(model / "tokenizer_config.json")
    with refused(CheckpointError, model, "no ordinary file", seconds=1):
        check_untrusted(model)


# the child process ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tried(original: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, BaseException | None]:
    """Models that are tried without the checks before it, all at once: how each try ended."""
    root = tmp_path_factory.mktemp("tried")
    names = ("code", "pattern", "labels", "layers")
    models = {name: Path(shutil.copytree(original, root / name)) for name in names}
    spoil_with_code(models["code"], root / "marker")
    hostile.add_regex_bomb(models["pattern"])
    hostile.change_json(models["labels"] / "config.json", {"num_labels": 10**8, "id2label": None, "label2id": None})
    hostile.change_json(models["layers"] / "config.json", {"num_hidden_layers": 20_000})

    def run(name: str) -> BaseException | None:
        try:
            try_in_child(models[name], 15 if name == "layers" else 100, 1 << 30)
        except FusionError as error:
            return error
        return None

    before = Path.cwd()
    os.chdir(models["code"])  # where a torch.py lies in wait
    try:
        with ThreadPoolExecutor(len(names)) as pool:
            return dict(zip(names, pool.map(run, names), strict=True)) | {"marker": (root / "marker").exists()}
    finally:
        os.chdir(before)


def test_a_child_runs_no_code_that_came_with_the_model(tried):
    assert tried["code"] is None
    assert tried["marker"] is False


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("pattern", "retry-limit|more than 100 s"),
        ("labels", "more than 1024 MiB of memory"),
        ("layers", "more than 15 s"),
    ],
)
def test_a_model_that_does_not_end_ends_with_a_sentence(name: str, match: str, tried):
    with pytest.raises(CheckpointError, match=match) as caught:
        raise tried[name]
    assert_sentence(caught.value)


def test_a_try_can_be_stopped(original: Path):
    progress, start = Progress(lambda *_: progress.stop()), time.perf_counter()
    with pytest.raises(StoppedError):
        try_in_child(original, progress=progress)
    assert time.perf_counter() - start < 5


def test_a_child_knows_no_secrets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    for is_online in (False, True):
        told = environment(ChildLimits(1, 1, is_online=is_online))
        assert "hf_secret" not in told.values() and told["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"
        assert ("HF_HUB_OFFLINE" in told) == (not is_online)


@pytest.mark.parametrize(
    ("file", "change", "match"),
    [
        ("config.json", {"hidden_size": 32}, "has the shape"),
        ("config.json", {"num_hidden_layers": 120, "intermediate_size": 60_000}, "describes .* parameters"),
        ("words", {}, "words, of which the model knows 50"),
    ],
)
def test_a_model_that_is_not_what_it_says_is_refused(file: str, change: dict, match: str, model: Path):
    if file == "words":
        hostile.add_words(model, 2000)
    else:
        hostile.change_json(model / file, change)
    if "intermediate_size" in change:
        from safetensors.torch import load_file, save_file

        weights = load_file(model / "model.safetensors")
        save_file(
            {n: t for n, t in weights.items() if "intermediate" not in n and "output" not in n},
            model / "model.safetensors",
        )
    check_untrusted(model)  # each number by itself is within its bound
    with pytest.raises(CheckpointError, match=match):
        trial._try_model(model)
