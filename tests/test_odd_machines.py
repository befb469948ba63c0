"""Machines with something missing: each works, or says in a sentence why not."""

from __future__ import annotations

import errno
import json
import os
import pwd
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import gradio as gr
import pytest
import torch
from hosted_server import HostedServer
from safetensors import SafetensorError
from safetensors.torch import save_file
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.testclient import TestClient
from test_returning import PROJECT, START

from fusion_ui.errors import SettingsError, StorageError
from fusion_ui.evaluation.store import ResultStore
from fusion_ui.projects.building import blank_project
from fusion_ui.projects.project import Project
from fusion_ui.results.history import History, Left
from fusion_ui.results.store import HistoryStore
from fusion_ui.settings import Settings
from fusion_ui.sources.files import replace_directory, replace_file, write_json
from fusion_ui.sources.storage import check_writable, ensure_temporary_directory, explaining_writes
from fusion_ui.ui.handlers import Handlers, as_message
from fusion_ui.ui.hosting.door import Door
from fusion_ui.ui.hosting.health import ServerState
from fusion_ui.ui.remembering import Remembering
from fusion_ui.ui.serving import address_of, launch
from fusion_ui.ui.session import Session
from fusion_ui.ui.sessions import Sessions
from fusion_ui.workspace import Workspace
from tests.server_process import ROOT, free_port

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Makes a disk of its own with so many bytes; a test that needs one is left out where none can be mounted."""
    made: list[Path] = []

    def make(size: int, *options: str) -> Path:
        place = tmp_path / f"disk{len(made)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "none", str(place)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("no disk can be mounted here; the errors of one are tested without")
        made.append(place)
        return place

    yield make
    for place in made:
        subprocess.run(["umount", "-l", str(place)], check=True)


# a full disk ---------------------------------------------------------------------------------------------------------


def fill(disk: Path) -> None:
    with (disk / "filling").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_is_told_and_what_was_there_stays(mount: Mount):
    disk = mount(256 << 10)
    write_json(disk / "kept.json", {"a": 1})
    fill(disk)
    before = sorted(disk.rglob("*"))
    with pytest.raises(StorageError, match=r"kept\.json could not be written: the disk is full\. Make room") as caught:
        write_json(disk / "kept.json", {"a": "x" * 100_000})
    assert str(disk) not in str(caught.value), "a stranger learns no path"
    with (
        pytest.raises(StorageError, match=r"weights\.safetensors could not be written"),
        replace_file(disk / "weights.safetensors") as temporary,
    ):
        save_file({"a": torch.zeros(100_000)}, temporary)
    with pytest.raises(StorageError, match="the disk is full"), replace_directory(disk / "model") as folder:
        (folder / "config.json").write_text("x" * 100_000)
    assert sorted(disk.rglob("*")) == before
    assert json.loads((disk / "kept.json").read_text()) == {"a": 1}


def test_the_caches_do_without_a_full_disk(mount: Mount, caplog: pytest.LogCaptureFixture):
    disk = mount(256 << 10)
    fill(disk)
    results, history = ResultStore(disk, 1 << 20), HistoryStore(disk, 1 << 20)
    history.append("somebody", [Left(time.time(), "own", {"x": "y" * 9000})])
    assert history.read("somebody").last is not None
    results.put("a model", "a domain", torch.zeros(50_000, 2), True)
    assert results.get("a model", "a domain") is not None
    assert "full" in caplog.text and str(disk) not in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/secret/place"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EROFS, "Read-only file system"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_every_way_in_which_a_disk_refuses_is_a_sentence(error: Exception, tmp_path: Path):
    with (
        pytest.raises(StorageError, match=r"could not be written: .*disk") as caught,
        explaining_writes(tmp_path / "a"),
    ):
        raise error
    assert isinstance(caught.value, OSError), "who can do without the file catches it as what it is"
    message = as_message(error)
    assert isinstance(message, gr.Error) and "The server could not write" in message.message
    assert "secret" not in message.message


def test_an_error_about_something_else_stays_what_it_is(tmp_path: Path):
    for error in (ValueError("x"), FileNotFoundError(2, "no such file"), PermissionError(13, "not yours")):
        with pytest.raises(type(error)) as caught, explaining_writes(tmp_path / "a"):
            raise error
        assert caught.value is error


def test_an_upload_that_the_disk_has_no_room_for_is_refused_in_a_sentence():
    def receive(request: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/secret")

    routes = [Route("/upload", receive, methods=["POST"])]
    door = Middleware(Door, state=ServerState(is_ready=True), count=lambda method, status: None)
    answer = TestClient(Starlette(routes=routes, middleware=[door])).post("/upload")
    assert (answer.status_code, answer.json()) == (507, {"detail": "The server could not write: the disk is full."})


# a cache that cannot be written --------------------------------------------------------------------------------------


def test_a_read_only_cache_is_told_before_anything_else(mount: Mount, tmp_path: Path):
    disk = mount(1 << 20, "ro")
    with pytest.raises(SettingsError, match=r"its disk is read-only\. Name another directory with FUSION_UI_CACHE_DIR"):
        check_writable(disk / "cache")
    environment = os.environ | {"FUSION_UI_CACHE_DIR": str(disk), "FUSION_UI_PORT": str(free_port())}
    served = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200
    )
    assert served.returncode == 2
    assert re.fullmatch(r"fusion-ui: The cache \S+ cannot be written: its disk is read-only\. .*\n", served.stderr)


def test_a_cache_that_is_no_directory_or_too_small_is_told(mount: Mount, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written: Not a directory"):
        check_writable(tmp_path / "file" / "cache")
    with pytest.raises(SettingsError, match="the disk is full"):
        check_writable(mount(64 << 10))


def test_a_cache_that_can_be_written_is_left_as_it_was(tmp_path: Path):
    check_writable(tmp_path / "new" / "cache")
    assert list((tmp_path / "new" / "cache").iterdir()) == []


# no home, no /tmp, no IPv4 -------------------------------------------------------------------------------------------


def test_an_account_without_a_home_is_asked_for_a_cache(monkeypatch: pytest.MonkeyPatch):
    for name in ("HOME", "XDG_CACHE_HOME", "FUSION_UI_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(SettingsError, match=r"no home directory .* FUSION_UI_CACHE_DIR"):
        Settings()


def test_without_a_directory_for_temporary_files_the_cache_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "missing")])
    monkeypatch.setenv("TMPDIR", "")
    ensure_temporary_directory(tmp_path / "tmp")
    with tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).parent == tmp_path / "tmp"
    assert os.environ["TMPDIR"] == str(tmp_path / "tmp")


def test_a_machine_without_ipv4_serves_on_ipv6(settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gradio.http_server.socket.socket", _without_ipv4())
    port = free_port("::1")
    with gr.Blocks() as app:
        gr.Markdown("hello")
    launch(app, "::1", port, Handlers(Workspace(settings), blank_project()))
    try:
        assert address_of("::1", port) == f"http://[::1]:{port}"
        assert b"hello" in urlopen(address_of("::1", port), timeout=10).read()
    finally:
        app.close(verbose=False)


def _without_ipv4() -> type:
    import socket

    class Socket(socket.socket):
        def bind(self, address: object) -> None:
            if isinstance(address, tuple) and address[0] == "127.0.0.1":
                raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
            super().bind(address)  # type: ignore[arg-type]

    return Socket


NO_TMP = "import tempfile\ntempfile._candidate_tempdir_list = lambda: ['/nonexistent']\n"


def test_a_server_without_home_and_tmp_on_ipv6_alone_evaluates_and_takes_files(demo: Project, tmp_path: Path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(NO_TMP)
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    with HostedServer(tmp_path, "::1", HOME=None, TMPDIR=None, PYTHONPATH=path) as server:
        boundary = uuid.uuid4().hex
        body = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\nx\r\n'
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        upload = f"{server.address}/gradio_api/upload"
        status, text = server.send(Request(upload, f"{body}--{boundary}--\r\n".encode(), kind))
        assert status == 200 and Path(json.loads(text)[0]).is_relative_to(server.cache / "sessions")
        assert server.call("run")[0] == 200
        end = time.monotonic() + 120
        while "kind=evaluate" not in server.log:
            assert time.monotonic() < end
            server.send(Request(f"{server.address}/gradio_api/queue/data?session_hash=a-visitor"))
        assert server.stop() == 0
        assert "Traceback" not in server.log


# a clock that jumps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-4e8, 4e8])
def test_a_visitors_work_goes_on_when_the_clock_jumps(jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sessions = Sessions(lambda: Session(PROJECT, START), tmp_path)
    session, now = sessions.get("a"), time.time()
    versions = [session.version]
    for number, clock in enumerate((now, now + jump, now)):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        session.post(replace(START, num_examples=64 + 8 * number))
        versions.append(session.version)
        assert sessions.get("a") is session, "nobody is taken for gone"
        sessions.get("b")
    assert versions == sorted(set(versions)), "what is drawn later is newer"


def test_where_the_controls_stood_is_kept_though_the_clock_went_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [time.time()]
    monkeypatch.setattr(time, "time", lambda: now[0])
    remembering = Remembering(Handlers(Workspace(Settings(cache_dir=tmp_path)), PROJECT))
    remembering.store.clock = lambda: now[0]
    session = remembering.sessions.get("a")
    remembering.greet(session, "0" * 32)
    session.post(replace(START, num_examples=64))
    remembering.leave(session)
    now[0] -= 86_400
    session.post(replace(START, num_examples=72))
    remembering.leave(session)
    last = remembering.history(session).last
    assert last is not None and last.settings["num_examples"] == 72


@pytest.mark.parametrize("jump", [-86_400, 86_400])
def test_a_history_keeps_its_order_and_its_times_when_the_clock_jumps(jump: float, tmp_path: Path):
    now = [time.time()]
    store = HistoryStore(tmp_path, 1 << 20, clock=lambda: now[0])
    for number, moved in enumerate((0.0, jump, 0.0)):
        store.append("somebody", [Left(now[0] + moved, f"place {number}", {})])
    assert isinstance(store.read("somebody"), History)
    again = HistoryStore(tmp_path, 1 << 20, clock=lambda: now[0]).read("somebody")
    assert again.last == store.read("somebody").last
