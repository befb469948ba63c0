"""What a visitor uploads becomes a model directory that can be used: files, zips, parts of a model, adapters."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch
from hostile_files import write_zip
from safetensors.torch import load_file, save_file
from tiny_models import tiny_bert, tiny_gpt2, write_model

import fusion_ui.sources.upload as upload
from fusion_ui.checkpoints.adapters import merge_adapter
from fusion_ui.checkpoints.checkpoint import TOKENIZER_FILES, Checkpoint
from fusion_ui.checkpoints.limits import FAMILIES, ModelLimits, check_untrusted, read_shapes
from fusion_ui.checkpoints.trial import _try_model
from fusion_ui.domains.batches import EncodedText
from fusion_ui.errors import StoppedError
from fusion_ui.progress import Progress
from fusion_ui.sources.upload import UploadLimits, receive_upload
from fusion_ui.tasks import load_model
from fusion_ui.tasks.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("made") / "model", tiny_bert(3))


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def assert_same_model(received: Path, original: Path) -> None:
    """The received directory passes every check and gives the weights and tokens of the original."""
    check_untrusted(received)
    checkpoint = Checkpoint("received", received, str(received))
    expected = Checkpoint("original", original, str(original))
    weights, others = load_model(checkpoint).state_dict(), load_model(expected).state_dict()
    assert weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in others)
    assert (
        Tokenizer(checkpoint, 16).encode(["w1 w2"]) == Tokenizer(expected, 16).encode(["w1 w2"]) != [EncodedText((0,))]
    )


def test_the_names_that_are_kept_are_those_that_make_a_tokenizer():
    assert frozenset(TOKENIZER_FILES) == upload.TOKENIZER_NAMES


def test_several_files_become_a_model(model: Path, tmp_path: Path):
    messages: list[str] = []
    # The page stores an upload under a path of its own; the person's name for the file comes beside it.
    files: list[Path | tuple[str, Path]] = []
    for number, path in enumerate(sorted(model.iterdir())):
        (stored := tmp_path / f"upload{number}").write_bytes(path.read_bytes())
        files.append((path.name, stored))
    (note := tmp_path / "notes.txt").write_text("hello")
    received = receive_upload(
        [*files, note], tmp_path / "models" / "mine", progress=Progress(lambda _, m: messages.append(m))
    )
    assert received == tmp_path / "models" / "mine"
    assert contents(received) == contents(model)
    assert messages[-1] == f"received {len(files)} files; left out 1 that are not needed: notes.txt"
    assert [path.name for path in received.parent.iterdir()] == ["mine"]
    assert_same_model(received, model)


def test_a_file_that_is_taken_takes_no_more_room(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    received = receive_upload(sorted(model.iterdir()), tmp_path / "mine")
    assert all(path.samefile(model / path.name) for path in received.iterdir())

    def refuse(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    copied = receive_upload(sorted(model.iterdir()), tmp_path / "other")
    assert contents(copied) == contents(model)
    assert not any(path.samefile(model / path.name) for path in copied.iterdir())


def test_a_zip_with_a_top_folder_becomes_a_model(model: Path, tmp_path: Path):
    extras = {"training_args.bin": b"x", "checkpoint-5/config.json": b"{}", ".DS_Store": b"", "modeling.py": b"boom"}
    archive = write_zip(tmp_path / "Mine.ZIP", {**contents(model), **extras}, top="my model/")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("__MACOSX/._config.json", b"x")
        opened.mkdir("my model/empty")
    messages: list[str] = []
    received = receive_upload([archive], tmp_path / "mine", progress=Progress(lambda _, m: messages.append(m)))
    assert contents(received) == contents(model)
    assert (
        messages[-1].startswith(f"received {len(contents(model))} files; left out 3 ") and "modeling.py" in messages[-1]
    )
    assert_same_model(received, model)


def test_a_model_in_parts_is_read_like_a_whole_one(model: Path, tmp_path: Path):
    weights = load_file(model / "model.safetensors")
    names, source = sorted(weights), tmp_path / "parts"
    source.mkdir()
    places: dict[str, str] = {}
    for number, part in enumerate((names[:5], names[5:]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, source / file, metadata={"format": "pt"})
        places |= dict.fromkeys(part, file)
    (source / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    for name, content in contents(model).items():
        if name != "model.safetensors":
            (source / name).write_bytes(content)
    received = receive_upload(sorted(source.iterdir()), tmp_path / "mine")
    assert_same_model(received, model)
    expected = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert read_shapes(received, ModelLimits()) == expected


def test_an_adapter_is_received_and_folds_into_its_base(model: Path, tmp_path: Path):
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=2, target_modules=["query", "value"], init_lora_weights=False)
    get_peft_model(tiny_bert(3), config).save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "config.json").write_text("{}")
    received = receive_upload(sorted((tmp_path / "adapter").iterdir()), tmp_path / "mine")
    assert sorted(contents(received)) == ["adapter_config.json", "adapter_model.safetensors"]
    check_untrusted(received)
    merge_adapter(model, received, tmp_path / "merged")
    check_untrusted(tmp_path / "merged")
    name = "bert.encoder.layer.0.attention.self.query.weight"
    before, after = load_file(model / "model.safetensors"), load_file(tmp_path / "merged" / "model.safetensors")
    assert before.keys() == after.keys() and not torch.equal(before[name], after[name])


def test_a_gpt2_and_the_hubs_cache_are_accepted(tmp_path: Path):
    made = write_model(tmp_path / "made", tiny_gpt2(), special_tokens=False, padding_token=False)
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(made.iterdir())):
        (repository / "blobs" / str(number)).write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(Path("../../blobs") / str(number))
    check_untrusted(snapshot, allow_links=True)
    _try_model(snapshot)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_configurations_of_every_family_are_accepted(family: str, model: Path, tmp_path: Path):
    # The defaults of transformers are those of the published models: no bound may be below them.
    from transformers import AutoConfig

    config = AutoConfig.for_model(family)
    for name, content in contents(model).items():
        (tmp_path / name).write_bytes(content)
    config.save_pretrained(tmp_path)
    check_untrusted(tmp_path)


def test_a_new_upload_takes_the_place_of_the_old_one(model: Path, tmp_path: Path):
    folder = tmp_path / "mine"
    receive_upload([write_zip(tmp_path / "a.zip", contents(model))], folder)
    changed = contents(model) | {"vocab.txt": b"w1\n"}
    receive_upload([write_zip(tmp_path / "b.zip", changed)], folder)
    assert contents(folder) == changed


def test_an_upload_can_be_stopped_and_leaves_nothing(model: Path, tmp_path: Path):
    progress = Progress(lambda fraction, _: progress.stop() if fraction > 0 else None)
    with pytest.raises(StoppedError):
        receive_upload(sorted(model.iterdir()), tmp_path / "mine", progress=progress)
    assert list(tmp_path.iterdir()) == []


def test_limits_hold_to_the_byte(model: Path, tmp_path: Path):
    num_bytes = sum(len(content) for content in contents(model).values())
    receive_upload(sorted(model.iterdir()), tmp_path / "mine", UploadLimits(max_bytes=num_bytes))
    with pytest.raises(upload.SourceError, match="MiB are accepted"):
        receive_upload(sorted(model.iterdir()), tmp_path / "other", UploadLimits(max_bytes=num_bytes - 1))
