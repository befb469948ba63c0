"""One simulated person: drags, searches, uploads, stops, closes the page and comes back, and checks every number."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.served import Server, Visitor

LOGGER = logging.getLogger(__name__)
POLITE = ("Try again", "Close one", "are left. Bring", "full", "busy", "newer state")
"""What a refusal that is no error says."""
TITLE = "RegMean α={:g}"


@dataclass
class Findings:
    """What all people met. Thread-safe enough: lists are appended to, counters guarded."""

    errors: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    first_bar: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, where: Counter[str], what: str) -> None:
        with self.lock:
            where[what] += 1

    def note_failure(self, during: str, text: str) -> None:
        """An error, or a refusal that says what to do."""
        is_polite = any(word in text for word in POLITE)
        self.count(self.refusals if is_polite else self.errors, f"{during}: {text[:160]}")


class Person:
    """A browser with one page at a time.

    Args:
        expected: alpha -> the row of numbers that the page must show for it. Nobody else uses these values.
    """

    def __init__(self, number: int, server: Server, expected: Mapping[float, list[Any]], findings: Findings) -> None:
        self.server, self.expected, self.findings = server, expected, findings
        self.random = random.Random(number)
        self.visitor = self._open()

    def live(self, end: float) -> None:
        """Do one thing after the other until `end`."""
        actions = {self.drag: 8, self.search: 1, self.upload: 2, self.stop: 2, self.close: 2}
        try:
            while time.monotonic() < end:
                action = self.random.choices([*actions], [*actions.values()])[0]
                try:
                    action()
                    self.findings.count(self.findings.done, action.__name__)
                except (httpx.HTTPError, AssertionError, KeyError, ValueError) as error:
                    self.findings.note_failure(action.__name__, f"{type(error).__name__} {error}")
                time.sleep(self.random.uniform(0.2, 1.5))
        finally:
            self._leave()

    def drag(self) -> None:
        """Move the slider over other values to one of one's own, and wait for its numbers."""
        alpha = self.random.choice([*self.expected])
        for passed in [round(self.random.random(), 2) for _ in range(6)]:
            self._post(passed)
            time.sleep(0.05)
        self._post(alpha)
        released, title = time.perf_counter(), TITLE.format(alpha)
        event = self._join("run", [])
        is_shown = False
        for message in self.visitor.follow(300) if event else ():
            if not is_shown and message.get("output") and title in str(message["output"].get("data", [""])[:1]):
                is_shown = True
                with self.findings.lock:
                    self.findings.first_bar.append(time.perf_counter() - released)
            if message["msg"] == "process_completed" and message.get("event_id") == event:
                self._check(message, alpha, title)
                return

    def search(self) -> None:
        """Look for the best alpha."""
        self._wait(self._join("find_best", []))

    def upload(self) -> None:
        """Send a file, look at its first rows, and find nobody else's."""
        word = f"mine{self.random.random()}"
        answer = self.visitor.upload("own.csv", f"text,label\n{word},negative\nother,positive\n".encode())
        if answer.status_code != 200:
            self.findings.note_failure("upload", answer.text)
            return
        file = {"path": answer.json()[0], "orig_name": "own.csv", "meta": {"_type": "gradio.FileData"}}
        message = self._wait(self._join("preview", [file]))
        assert message is None or word in str(message), "another file's rows"

    def stop(self) -> None:
        """Begin, and stop at once."""
        self._post(self.random.choice([*self.expected]))
        event = self._join("run", [])
        time.sleep(self.random.uniform(0.0, 0.5))
        self.visitor.http.post("/gradio_api/run/stop", json={"data": [], "session_hash": self.visitor.session})
        self._wait(event)

    def close(self) -> None:
        """Begin something, close the page in the middle of it, and come back with a new one."""
        self._post(self.random.choice([*self.expected]))
        self._join("run", [])
        time.sleep(self.random.uniform(0.0, 0.5))
        self._leave()
        self.visitor = self._open()

    def _open(self) -> Visitor:
        visitor = Visitor(self.server)
        self.controls = visitor.controls()
        self.place = self.controls.index(0.9)
        self.is_open = threading.Event()
        self.is_open.set()
        threading.Thread(target=_beat, args=(visitor, self.is_open), daemon=True).start()
        return visitor

    def _leave(self) -> None:
        self.is_open.clear()
        self.visitor.http.close()

    def _post(self, alpha: float) -> None:
        self.controls[self.place] = alpha
        body = {"data": self.controls, "session_hash": self.visitor.session}
        answer = self.visitor.http.post("/gradio_api/run/post", json=body)
        if answer.status_code != 200:
            self.findings.note_failure("post", answer.text)

    def _join(self, name: str, data: list[Any]) -> str | None:
        answer = self.visitor.join(name, data)
        if answer.status_code != 200:
            self.findings.note_failure(name, answer.text)
            return None
        return answer.json()["event_id"]

    def _wait(self, event: str | None) -> dict[str, Any] | None:
        for message in self.visitor.follow(300) if event else ():
            if message["msg"] == "process_completed" and message.get("event_id") == event:
                if not message["success"]:
                    self.findings.note_failure("a call", str(message["output"].get("error")))
                    return None
                return message
        return None

    def _check(self, message: dict[str, Any], alpha: float, title: str) -> None:
        if not message["success"]:
            self.findings.note_failure("drag", str(message["output"].get("error")))
            return
        table = message["output"]["data"][3]
        rows = {row[0]: row for row in table.get("data", [])} if isinstance(table, dict) else {}
        assert rows.get(title) == self.expected[alpha], f"{rows.get(title)} instead of {self.expected[alpha]}"


def _beat(visitor: Visitor, is_open: threading.Event) -> None:
    """What tells the server that the page is open."""
    try:
        with visitor.http.stream("GET", f"/gradio_api/heartbeat/{visitor.session}", timeout=60) as stream:
            for _ in stream.iter_lines():
                if not is_open.is_set():
                    return
    except (httpx.HTTPError, OSError, RuntimeError) as error:  # the page was closed, or the server has gone
        LOGGER.debug("a heartbeat ended: %s", error)
