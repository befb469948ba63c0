"""A second client that knows paths, ids and every endpoint's name gets at nothing of the first, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import Server, Visitor, serve

SECRET = b"text,label\nw1 w2 w3,negative\nthe secret sentence of the first,positive\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("served")) as made:
        yield made
        assert "Traceback" not in made.log, made.log


@pytest.fixture
def first(server: Server) -> Visitor:
    """Somebody who has merged, sent a file, and has a result."""
    visitor = Visitor(server)
    assert visitor.call("post", visitor.controls())["success"]
    assert visitor.call("run", [])["success"]
    return visitor


@pytest.fixture
def second(server: Server, first: Visitor) -> Visitor:
    """Somebody else, who says to be the first one."""
    return Visitor(server, session=first.session)


def assert_refused(answer: httpx.Response) -> None:
    assert answer.status_code in (400, 403, 404), (answer.status_code, answer.text[:500])
    assert b"secret" not in answer.content and "Traceback" not in answer.text and len(answer.content) < 1000


def payload(path: str) -> dict[str, Any]:
    return {"path": path, "orig_name": "a.csv", "size": 10, "mime_type": None, "meta": {"_type": "gradio.FileData"}}


def test_no_endpoint_answers_for_a_session_of_somebody_else(first: Visitor, second: Visitor):
    for call in range(len(second.config["dependencies"])):
        assert_refused(second.join(call, []))
    for name in ("post", "run", "contents", "leave", "stop"):
        for where in (f"run/{name}", f"api/{name}", f"call/{name}", f"call/v2/{name}", "queue/join", "cancel", "reset"):
            for slash in ("", "/"):
                body = {"data": [], "session_hash": first.session, "fn_index": 0, "event_id": "x"}
                assert_refused(second.http.post(f"/gradio_api/{where}{slash}", json=body))
    query = {"session_hash": first.session}
    assert_refused(second.http.get("/gradio_api/queue/data", params=query))
    assert_refused(second.http.get("/gradio_api/deep_link", params=query))
    assert_refused(second.http.get(f"/gradio_api/heartbeat/{first.session}"))
    assert_refused(second.http.get(f"/gradio_api/stream/{first.session}/1/1/playlist.m3u8"))
    body = query | {"component_id": 1, "fn_name": "x", "data": None}
    assert_refused(second.http.post("/gradio_api/component_server", json=body))
    second.http.cookies.clear()  # and as nobody
    assert_refused(second.join("run", []))
    assert_refused(second.http.get("/gradio_api/queue/data", params=query))
    # The first one noticed nothing.
    assert first.call("run", [])["success"]


def test_a_call_of_somebody_else_is_neither_followed_nor_ended(first: Visitor, second: Visitor):
    second.session = "another"
    event = first.join("run", []).json()["event_id"]
    assert_refused(second.http.get(f"/gradio_api/call/run/{event}"))
    assert_refused(second.http.get(f"/gradio_api/call/v2/run/{event}"))
    body = {"session_hash": second.session, "fn_index": 1, "event_id": event}
    assert_refused(second.http.post("/gradio_api/cancel", json=body))
    ended = [message for message in first.follow() if message["msg"] == "process_completed"]
    assert ended and all(message["success"] for message in ended)


def test_a_file_is_served_to_whoever_sent_it_and_read_for_nobody_else(first: Visitor, second: Visitor):
    (path,) = first.upload("a.csv", SECRET).json()
    time.sleep(0.2)
    assert first.http.get(f"/gradio_api/file={path}").content == SECRET
    preview = next(c["id"] for c in first.config["dependencies"] if c["api_name"] == "preview")
    shown = first.call(preview, [payload(path)])
    assert "secret sentence" in str(shown), "this test would not see what was read"
    second.session = "own"
    folder = Path(path)
    for name in (path, folder.parent, folder.parent / ".." / folder.parent.name / "a.csv", f"/proc/self/root{path}"):
        assert_refused(second.http.get(f"/gradio_api/file={name}"))
        assert_refused(second.http.head(f"/gradio_api/file={name}"))
        assert_refused(second.http.get(f"/gradio_api/file/{name}"))
        assert_refused(second.join(preview, [payload(str(name))]))
        assert_refused(second.join(preview, [[payload(str(name))]]))
    # Who sends the same bytes has them anyway, and may read them; it is the same file to gradio.
    assert second.upload("a.csv", SECRET).json() == [path]
    assert "secret sentence" in str(second.call(preview, [payload(path)]))


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/proc/self/environ", "../../../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/x",
     "//example.org/x", "\x00", "~/.bashrc", "README.md", "fusion_ui/settings.py", "a" * 5000],
    ids=lambda path: repr(path[:20]),
)  # fmt: skip
def test_no_file_of_the_machine_is_served_or_read(path: str, first: Visitor):
    for call in first.config["dependencies"]:
        if any(part in call["inputs"] for part in files_of(first)):
            data = [payload(path) if part in files_of(first) else None for part in call["inputs"]]
            assert_refused(first.join(call["id"], data))
    answer = first.http.get("/gradio_api/file=" + path.replace("\x00", "%00").replace("#", "%23"))
    assert answer.status_code in (400, 403, 404) and b"root:" not in answer.content


def files_of(visitor: Visitor) -> set[int]:
    """Components that take files."""
    kinds = ("file", "uploadbutton")
    return {part["id"] for part in visitor.config["components"] if part["type"] in kinds}


def test_a_zip_made_for_one_visitor_is_downloaded_by_nobody_else(first: Visitor, second: Visitor):
    made = first.call("make_zip", ["regmean"], seconds=120)
    assert made["success"], made
    path = made["output"]["data"][1]["value"]["path"]
    assert first.http.get(f"/gradio_api/file={path}").content[:2] == b"PK"
    assert_refused(second.http.get(f"/gradio_api/file={path}"))
    second.session = "mine"
    assert second.call("post", second.controls())["success"]
    assert_refused(second.http.get(f"/gradio_api/file={path}"))


def test_calls_without_a_session_share_nothing(server: Server):
    """What says no session has one for that call alone, and not one with all others who say none."""
    visitor, other = Visitor(server), Visitor(server)
    body = {"data": ["own"]}
    assert visitor.http.post("/gradio_api/run/choose_project", json=body).status_code in (200, 500)
    shown = other.http.post("/gradio_api/run/undo", json={"data": []})
    assert "Your own models" not in shown.text


def post_json(visitor: Visitor, body: bytes) -> httpx.Response:
    return visitor.http.post("/gradio_api/queue/join", content=body, headers={"content-type": "application/json"})


def test_requests_are_bounded_in_size_depth_and_number(first: Visitor, server: Server):
    huge = post_json(first, b'{"data": ["' + b"a" * (5 << 20) + b'"]}')
    assert huge.status_code == 413 and "uploads" in huge.json()["detail"]
    for body in (b"[" * 100_000, b"{", b"[]", b'{"data": ' + b"[" * 900 + b"]" * 900 + b"}", b"\xff", b""):
        assert_refused(post_json(first, body))
    visitor = Visitor(server)
    for _ in range(12):
        visitor.session = f"s{time.time_ns()}"
        assert visitor.call("post", visitor.controls())["success"]
    visitor.session = "one-too-many"
    refused = visitor.join("post", visitor.controls())
    assert refused.status_code == 503 and "12 pages open" in refused.json()["detail"]


def test_a_page_of_another_origin_gets_no_answer_with_a_visitors_cookie(first: Visitor):
    headers = {"origin": "https://evil.example", "host": "127.0.0.1"}
    answer = first.http.get("/config", headers=headers)
    assert answer.headers.get("access-control-allow-origin") not in ("*", "https://evil.example")
