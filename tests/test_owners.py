"""Whose is what, what a visitor may bring, and what goes by itself."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from fusion_ui.errors import StoppedError
from fusion_ui.execution import Job
from fusion_ui.progress import Progress
from fusion_ui.projects.building import blank_project
from fusion_ui.settings import Settings
from fusion_ui.ui import owners as owners_module
from fusion_ui.ui.gate import COOKIE, MAX_WAITING, Gate
from fusion_ui.ui.janitor import Janitor
from fusion_ui.ui.owners import Owners
from fusion_ui.ui.quota import Quota
from fusion_ui.ui.request import FuseRequest
from fusion_ui.ui.session import Session
from fusion_ui.ui.sessions import Sessions

ME, YOU = "a" * 32, "b" * 32
REQUEST = FuseRequest((), (), 8, (), (), ())


def make_sessions(folder: Path) -> Sessions:
    return Sessions(lambda: Session(blank_project(), REQUEST), folder)


def make_gate(application: Any, settings: Settings, folder: Path) -> Gate:
    owners = Owners(list, lambda _: None)
    return Gate(
        application, owners, Quota(owners, lambda _: ()), settings, folder, lambda _: None, lambda _: None, list
    )


def test_a_flood_of_names_takes_nobodys_session(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(owners_module, "MAX_NAMES", 10)
    owners = Owners(lambda: ["mine"], lambda _: None)
    assert owners.claim("session", "mine", ME)
    for i in range(100):
        owners.claim("session", f"flood{i}", YOU)
    assert not owners.claim("session", "mine", YOU) and owners.claim("session", "mine", ME)
    assert owners.owner_of("session", "flood0") is None and owners.sessions_of(ME) == ["mine"]


def test_files_go_when_all_their_owners_have_gone(tmp_path: Path):
    live = ["mine", "yours"]
    owners = Owners(lambda: live, lambda _: None)
    owners.claim("session", "mine", ME)
    owners.claim("session", "yours", YOU)
    both, early = tmp_path / "x" / "both", tmp_path / "y" / "early"
    for path, keys in ((both, (ME, YOU)), (early, ("c" * 32,))):
        path.parent.mkdir()
        path.write_bytes(b"12345")
        for key in keys:
            owners.add_file(path, key)
    assert owners.files_of(ME) == [both.resolve()] and not owners.has_file(both, "c" * 32)
    live.remove("mine")
    assert owners.let_go(0, 60) == []
    live.remove("yours")
    assert owners.let_go(60, 60) == []
    assert owners.let_go(0, 60) == [both.resolve()] and not owners.has_file(both, ME)
    assert owners.let_go(0, 0) == [early.resolve()]


def test_the_janitor_ends_who_was_not_heard_of_and_removes_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fusion_ui.ui.sessions.IDLE_SECONDS", 0.2)
    monkeypatch.setattr("fusion_ui.ui.janitor.RETURN_SECONDS", 0.0)
    sessions = make_sessions(tmp_path)
    owners = Owners(sessions.ids, sessions.handed_out)
    owners.claim("session", "idle", ME)
    idle, busy = sessions.get("idle"), sessions.get("busy")
    folder = sessions.folder_of(idle)
    sent = tmp_path / "sent" / "file"
    sent.parent.mkdir()
    sent.write_text("x")
    owners.add_file(sent, ME)
    with busy.fetching(Job(lambda progress: progress.pause(60), Progress)):
        time.sleep(0.3)
        Janitor(sessions, owners, tmp_path).make_round()
        assert sessions.ids() == ["busy"] and not folder.exists() and not sent.parent.exists()


def test_leaving_stops_every_kind_of_work(tmp_path: Path):
    sessions = make_sessions(tmp_path)
    for end in (lambda: sessions.get("me").stop(), lambda: sessions.forget("me")):
        session, ended = sessions.get("me"), []

        def work(progress: Progress, ended: list[str] = ended) -> None:
            try:
                while True:
                    progress.pause(0.01)
            except StoppedError:
                ended.append("work")
                raise

        job = session.job(session.version, "key", lambda work=work: Job(work, Progress))
        with session.fetching(Job(work, Progress)) as fetch, session.working(session.version, Progress()) as progress:
            end()
            for running in (job, fetch):
                with pytest.raises(StoppedError):
                    list(running.follow())
            assert progress.is_stopped and ended == ["work"] * 2


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("told", "sent", "free", "words"),
    [(200, 10, 10**9, "200|100|left"), (10, 10, 5, "disk of this machine is too full"), (0, 200, 10**9, None)],
)
def test_what_a_visitor_sends_is_bounded_before_it_is_kept(
    told: int, sent: int, free: int, words: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Refused by what is told beforehand; whoever tells wrongly is cut off."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, free))
    settings = Settings(cache_dir=tmp_path, max_session_bytes=1 << 20, min_free_bytes=0)
    monkeypatch.setattr(Quota, "num_bytes_of", lambda *_: (1 << 20) - 100)
    read: list[int] = []
    answers: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] != "http.disconnect" and message.get("more_body"):
            read.append(len(message["body"]))

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * min(sent, 20), "more_body": sum(read) < sent}

    async def send(message: Any) -> None:
        answers.append(message)

    gate = make_gate(application, settings, tmp_path)
    headers = [(b"cookie", f"{COOKIE}={ME}".encode()), (b"content-length", str(told).encode())]
    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "query_string": b"", "headers": headers}
    asyncio.run(gate(scope, receive, send))
    if words is None:
        assert sum(read) <= 100, "more was taken than there was room for"
    else:
        assert answers[0]["status"] == 413 and any(word in answers[1]["body"].decode() for word in words.split("|"))
        assert read == []


def test_nobody_fills_the_queue_that_all_share(tmp_path: Path):
    sessions, waiting, statuses = make_sessions(tmp_path), list[str](), list[int]()
    owners, settings = sessions.owners, Settings(cache_dir=tmp_path, max_sessions=8, max_tabs_per_visitor=2)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        waiting.append(json.loads((await receive())["body"])["session_hash"])
        sessions.get(waiting[-1])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    visits = sessions.welcome, sessions.forget, lambda: waiting
    gate = Gate(application, owners, sessions.quota, settings, tmp_path, *visits)

    def join(session: str, key: str) -> int:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps({"session_hash": session}).encode(), "more_body": False}

        headers = [(b"cookie", f"{COOKIE}={key}".encode())] if key else []
        scope = {"type": "http", "method": "POST", "path": "/gradio_api/queue/join", "query_string": b""}
        asyncio.run(gate(scope | {"headers": headers}, receive, send))
        return statuses[-1]

    answers = [join(f"mine{i % 2}", ME) for i in range(MAX_WAITING + 1)]
    assert answers == [200] * MAX_WAITING + [503] and join("yours", YOU) == 200
    waiting.clear()
    assert join("mine2", ME) == 503, "a third page"
    assert [join(f"program{i}", "") for i in range(3)] == [200, 200, 503], "programs without a key take all the places"


def test_a_call_without_a_page_ends_with_its_answer(tmp_path: Path):
    """gradio makes it a session of its own, named as the call; what that holds is its caller's while it lasts."""
    sessions, answers = make_sessions(tmp_path), list[dict[str, Any]]()
    owners = sessions.owners

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["method"] == "POST":
            sessions.get("event")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"event_id": "event"}'})

    async def send(message: Any) -> None:
        answers.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"data": []}', "more_body": False}

    settings = Settings(cache_dir=tmp_path)
    gate = Gate(application, owners, sessions.quota, settings, tmp_path, sessions.welcome, sessions.forget, list)

    def ask(method: str, path: str, key: str) -> int:
        answers.clear()
        headers = [(b"cookie", f"{COOKIE}={key}".encode())]
        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
        asyncio.run(gate(scope, receive, send))
        return answers[0]["status"]

    assert ask("POST", "/gradio_api/call/add_data", ME) == 200
    assert owners.sessions_of(ME) == ["event"] and owners.sessions_of(YOU) == []
    assert ask("GET", "/gradio_api/call/add_data/event", YOU) == 403 and sessions.ids() == ["event"]
    assert ask("GET", "/gradio_api/call/add_data/event", ME) == 200 and sessions.ids() == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_key_is_given_once_and_no_script_can_read_it(scheme: str, tmp_path: Path):
    answers: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        answers.append(message)

    gate = make_gate(application, Settings(cache_dir=tmp_path), tmp_path)
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "scheme": scheme}
    asyncio.run(gate(scope, None, send))  # type: ignore[arg-type]
    cookie = dict(answers[0]["headers"])[b"set-cookie"].decode()
    assert "HttpOnly" in cookie and ("Secure; Partitioned" in cookie) == (scheme == "https")
    scope["headers"] = [(b"cookie", cookie.split(";")[0].encode())]
    asyncio.run(gate(scope, None, send))  # type: ignore[arg-type]
    assert answers[1]["headers"] == []
