"""What an attacker would bring, sent to a server as a browser does: each ends in a polite sentence, and nothing runs.

`test_attacks` gives the same to the functions that check it.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hostile_files as hostile
import pytest
from served import Server, Visitor, serve
from test_attacks import ZIPS, spoil_with_code
from tiny_models import tiny_bert, write_data, write_model

Files = dict[str, bytes]
ADAPTER = {"peft_type": "LORA", "r": 2, "target_modules": ["query"], "base_model_name_or_path": "owner/name"}
WEIGHTS = hostile.safetensors_bytes({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\x00" * 4)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("served")) as made:
        yield made
        assert "Traceback" not in made.log, made.log


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a harmless model."""
    model = write_model(tmp_path_factory.mktemp("good") / "model", tiny_bert())
    return {file.name: file.read_bytes() for file in model.iterdir()}


@pytest.fixture
def visitor(server: Server) -> Iterator[Visitor]:
    """Somebody who brings it; afterwards the server has kept nothing of it and serves the next one."""
    visitor = Visitor(server)
    yield visitor
    kept = [path for path in (server.folder / "cache" / "sessions").glob("*/*/models/**/*") if path.is_file()]
    assert kept == []
    after = Visitor(server)
    assert after.call("post", after.controls())["success"] and after.call("run", [])["success"]
    after.http.close()
    visitor.http.close()


def assert_polite(said: dict[str, Any], server: Server, about: object) -> None:
    """A refusal: one or more sentences for people, with no place of this machine in them."""
    text = said["message"]
    assert said["error"], (about, text)
    assert text.endswith(".") and text.isprintable() and 20 < len(text) < 900, (about, text)
    assert "Traceback" not in text and str(server.folder) not in text and "root:" not in text, (about, text)


def changed(files: Mapping[str, bytes], name: str, change: Mapping[str, Any]) -> Files:
    """With fields of a JSON file put in place."""
    return {**files, name: json.dumps(json.loads(files.get(name, b"{}")) | dict(change)).encode()}


def packed(files: Mapping[str, bytes]) -> Files:
    """One zip of them."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, part in files.items():
            archive.writestr(name, part)
    return {"model.zip": content.getvalue()}


def damaged_models(good: Files) -> Iterator[tuple[str, Files]]:
    """What is wrong -> the files of a model that has it."""
    for what, change in hostile.HOSTILE_CONFIGS.items():
        yield f"config: {what}", changed(good, "config.json", change)
    for what, content in hostile.BROKEN_JSON.items():
        yield f"broken config: {what}", good | {"config.json": content}
    for what, change in hostile.HOSTILE_TOKENIZER_CONFIGS.items():
        yield f"tokenizer: {what}", changed(good, "tokenizer_config.json", change)
    for what, make in hostile.HOSTILE_WEIGHTS.items():
        yield f"weights: {what}", good | {"model.safetensors": make()}
    adapter = {"adapter_config.json": json.dumps(ADAPTER).encode(), "adapter_model.safetensors": WEIGHTS}
    for what, change in hostile.HOSTILE_ADAPTERS.items():
        yield f"adapter: {what}", changed(adapter, "adapter_config.json", change)
    yield "model and adapter", good | adapter


def test_hostile_models_are_refused_with_a_sentence(good: Files, visitor: Visitor, server: Server):
    """As files and as a zip in turn, for both ways lead to the same checks."""
    attacks = [*damaged_models(good)]
    assert len(attacks) > 70
    for number, (what, files) in enumerate(attacks):
        assert_polite(visitor.add_model(packed(files) if number % 2 else files), server, what)


def test_hostile_archives_are_refused_with_a_sentence(visitor: Visitor, server: Server, tmp_path: Path):
    for what, (make, _) in ZIPS.items():
        make(tmp_path / "a.zip")
        if what == "bomb":  # of what a visitor may bring here, that is little
            hostile.write_bomb(tmp_path / "a.zip", 256 << 20)
        assert_polite(visitor.add_model({"a.zip": (tmp_path / "a.zip").read_bytes()}), server, what)
    for name in filter(None, hostile.HOSTILE_NAMES):
        plain = name.replace("\x00", "%")
        (content,) = packed({"config.json": b"{}", plain: b"x"}).values()
        said = visitor.add_model({"a.zip": content.replace(plain.encode(), name.encode())})
        assert_polite(said, server, name)
    assert not [*server.folder.rglob("cron.d"), *Path(server.folder).parent.glob("*.safetensors")]


def test_names_that_leave_their_folder_lead_nowhere(good: Files, visitor: Visitor, server: Server):
    """The name of an upload is an attacker's, too."""
    outside = {path for path in server.folder.parent.rglob("*") if "sessions" not in path.parts}
    for name in (
        "../../../model.safetensors",
        "/etc/cron.d/model.safetensors",
        "..\\..\\config.json",
        ".",
        "..",
        "a" * 300,
    ):
        answer = visitor.upload(name, b"x")
        if answer.status_code == 200:
            assert Path(answer.json()[0]).resolve().is_relative_to(server.folder / "cache" / "sessions"), name
            file = {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}
            said = visitor.call("add_model", [None, [file], "../../mine", "", False])["output"]["data"][-1]
            assert_polite(said, server, name)
        else:
            assert "Traceback" not in answer.text and str(server.folder) not in answer.text, name
    found = {path for path in server.folder.parent.rglob("*") if "sessions" not in path.parts}
    assert {path for path in found - outside if "model" in path.name or "config" in path.name} == set()


def test_code_that_comes_along_never_runs(good: Files, server: Server, tmp_path: Path):
    marker, model = tmp_path / "marker", tmp_path / "model"
    model.mkdir()
    for name, content in good.items():
        (model / name).write_bytes(content)
    spoil_with_code(model, marker)
    code = {file.name: file.read_bytes() for file in model.glob("*.py")}
    pickled = hostile.malicious_pickle(marker)
    visitor = Visitor(server)
    spoiled = {file.name: file.read_bytes() for file in model.iterdir()}
    without = {name: content for name, content in good.items() if name != "model.safetensors"}
    attacks = [
        spoiled,
        packed(spoiled),
        without | {"pytorch_model.bin": pickled},
        good | {"model.safetensors": pickled},
    ]
    attacks += [packed(files) for files in attacks[2:]] + [{"model.pkl": pickled}, {"evil.py": code["evil.py"]}]
    for files in attacks:
        assert_polite(visitor.add_model(files), server, [*files])
    # Beside a harmless model it is left out, and the model is taken.
    said = visitor.add_model(packed(good | code | {"pytorch_model.bin": pickled}))
    assert not said["error"] and said["message"].startswith("Added "), said
    kept = {path.suffix for path in (server.folder / "cache" / "sessions").glob("*/*/models/**/*") if path.is_file()}
    assert ".safetensors" in kept and not kept & {".py", ".bin", ".pkl", ".zip"}
    assert not marker.exists()
    visitor.call("leave", [])


def test_texts_that_are_no_name_of_the_hub_are_refused(visitor: Visitor, server: Server):
    for text in hostile.IDS:
        if "\x00" in text or not text:
            continue  # which gradio does not take, and which stands for no text
        said = visitor.call("add_model", [text, [], "", "", False])["output"]["data"][-1]
        if text.strip() != "owner/name":
            assert_polite(said, server, text)
    for text in ("../../etc/passwd", "private", "owner/../name", "file:///etc/passwd"):
        assert_polite(visitor.add_data("", b"", dataset=text), server, text)


def hostile_data(folder: Path) -> Files:
    """Data files that unfold, lie, run or are none."""
    marker = folder / "marker"
    bomb = gzip.compress(b"text,label\n" + b"a" * (64 << 20) + b",b\n")
    texts = "".join(f'"{text.encode(errors="replace").decode()[:200]}",=1+1\n' for text in hostile.TEXTS)
    return {
        "bomb.csv.gz": bomb,
        "pickle.csv": hostile.malicious_pickle(marker),
        "pickle.pkl": hostile.malicious_pickle(marker),
        "lies.parquet": b"PAR1" + b"\xff" * 64 + b"PAR1",
        "deep.jsonl": b'{"text": ' + b"[" * 100_000,
        "texts.csv": f"text,label\n{texts}".encode(),
    }


def test_hostile_data_is_refused_with_a_sentence(visitor: Visitor, server: Server, tmp_path: Path):
    for name, content in hostile_data(tmp_path).items():
        assert_polite(visitor.add_data(name, content), server, name)
    assert not (tmp_path / "marker").exists()
    # And what is harmless is taken, so the refusals were not for another reason.
    said = visitor.add_data("a.csv", write_data(tmp_path / "a.csv", 60).read_bytes())
    assert said["message"].startswith("Added "), said
