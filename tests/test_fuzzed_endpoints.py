"""Every endpoint of the page, with inputs that no page sends: a sentence or a result, soon, and no bug."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from served import Server, Visitor, serve

SECONDS = 90.0
"""For a batch of calls, on a machine that does other things too."""
BATCH = 24
NAMES = ("regmean", "d0", "d1", "own", "tiny", "report", "../../etc/passwd", "", "0" * 32, "<img src=x>", "\x00\ud7ff")


def invent(generator: random.Random, depth: int = 0) -> Any:
    """Something that a handler may not expect."""
    kind = generator.randrange(13 if depth < 3 else 10)
    if kind < 3:
        return generator.choice(NAMES)
    if kind == 3:
        return generator.choice((0, -1, 10**30, 1e308, -0.5, 0.3, 3))
    if kind == 4:
        return generator.choice((None, True, False))
    if kind == 5:
        return generator.choice(("a", "🙂", "=1+1", "w1 ", "\n")) * generator.choice((1, 100, 20_000))
    if kind == 6:
        return {"headers": ["a"], "data": [[1]], "metadata": None}
    if kind == 7:
        return {"path": generator.choice(("/etc/passwd", "x", "")), "meta": {"_type": "gradio.FileData"}}
    if kind == 8:
        return {"__type__": "update", "value": generator.choice(NAMES), "visible": "yes"}
    if kind == 9:
        return []
    if kind == 10:
        return [invent(generator, depth + 1) for _ in range(generator.randint(0, 4))]
    if kind == 11:
        return {generator.choice(NAMES): invent(generator, depth + 1) for _ in range(generator.randint(0, 3))}
    return [[invent(generator, depth + 1)] * 3] * 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("served")) as made:
        yield made


def drain(visitor: Visitor, events: set[str]) -> list[dict[str, Any]]:
    """The last messages of these calls."""
    ended = []
    for message in visitor.follow(SECONDS):
        if message["msg"] == "process_completed":
            ended.append(message)
            events.discard(message["event_id"])
            if not events:
                break
    assert not events, "calls that never ended"
    return ended


@pytest.mark.parametrize("seed", range(6))
def test_invented_inputs_end_with_a_sentence_or_a_result(server: Server, seed: int):
    generator, visitor = random.Random(seed), Visitor(server)
    assert visitor.call("post", visitor.controls())["success"]
    calls = [call for call in visitor.config["dependencies"] if call["backend_fn"]]
    assert len(calls) > 80
    for start in range(0, len(calls), BATCH):
        began, events = time.monotonic(), set()
        for call in calls[start : start + BATCH]:
            data = [invent(generator) for _ in call["inputs"]]
            if generator.random() < 0.1:
                data = data[:-1] or [1]  # too few, or too many
            answer = visitor.join(call["id"], data, event_data=invent(generator))
            assert answer.status_code in (200, 400, 403, 413, 422, 503), answer.text[:500]
            if answer.status_code == 200:
                events.add(answer.json()["event_id"])
        for message in drain(visitor, events) if events else ():
            text = str(message)
            assert "Traceback" not in text and "root:" not in text
            assert str(server.folder) not in text, f"a path of the machine was told: {text[:1000]}"
        assert time.monotonic() - began < SECONDS
    after = Visitor(server)
    assert after.call("post", after.controls())["success"] and after.call("run", [])["success"]
    assert "a handler failed" not in server.log, server.log[-6000:]


def test_routes_that_the_page_does_not_use_answer_with_little(server: Server):
    visitor = Visitor(server)
    routes = visitor.http.get("/gradio_api/openapi.json").json().get("paths", {})
    for path in {*routes, "/monitoring", "/monitoring/x", "/gradio_api/vibe-code", "/gradio_api/proxy=http://x", "/x"}:
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
            began = time.monotonic()
            try:
                answer = visitor.http.request(method, path.replace("{", "").replace("}", ""), timeout=10)
            except httpx.ReadTimeout:
                assert "heartbeat" in path
                continue
            assert answer.status_code != 500 and "Traceback" not in answer.text, (method, path, answer.text[:300])
            assert time.monotonic() - began < 10
