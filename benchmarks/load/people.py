"""One simulated person: drags, searches, brings models and data, takes zips away, stops, leaves, and checks it all."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.served import Heart, Server, Visitor

POLITE = (
    "people wait for this machine already",
    "You have ",
    "More people are here",
    "are left. Bring a smaller file",
    "is too full for this file",
)
"""What a refusal that is no error says."""
TITLE = "RegMean α={:g}"
SHOWN = re.compile(r"RegMean α=([0-9.]+)")
START = 0.9
"""The page's own α."""
WORD = re.compile(r"mine-[0-9a-z]+-[0-9a-z]+")
BUSY_SECONDS = 300.0
"""More than the longest call takes with everybody there; what says nothing for so long has failed."""


class Failure(Exception):
    """What was done did not come to its end; the text says why, as the visitor is told it."""


@dataclass
class Findings:
    """What all people met. Thread-safe enough: lists are appended to, counters guarded."""

    errors: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    first_bar: list[float] = field(default_factory=list)
    new_bar: list[float] = field(default_factory=list)
    num_checked: int = 0
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
        best: what a search for the best alpha must say.
        model: the files of a model that is brought, by name.
    """

    def __init__(
        self,
        number: int,
        server: Server,
        expected: Mapping[float, list[Any]],
        best: float,
        findings: Findings,
        model: Mapping[str, bytes],
    ) -> None:
        self.model = model
        self.number, self.server, self.expected, self.best, self.findings = number, server, expected, best, findings
        self.random = random.Random(number)
        self.own, self.seen = {*expected, START, best}, set[float]()
        self.visitor = self._open()

    def live(self, end: float) -> None:
        """Do everything once, then one thing after the other until `end`."""
        actions = {self.drag: 8, self.search: 1, self.upload: 2, self.stop: 2, self.close: 2}
        actions |= {self.bring_model: 1, self.bring_data: 1, self.zip: 1, self.cancel: 2}
        todo = self.random.sample([*actions], len(actions))
        try:
            while time.monotonic() < end:
                action = todo.pop() if todo else self.random.choices([*actions], [*actions.values()])[0]
                try:
                    action()
                    self.findings.count(self.findings.done, action.__name__)
                except Failure as failure:
                    self.findings.note_failure(action.__name__, str(failure))
                except (httpx.HTTPError, AssertionError, KeyError, ValueError, TypeError) as error:
                    self.findings.count(
                        self.findings.errors, f"{action.__name__}: {type(error).__name__} {error}"[:400]
                    )
                time.sleep(self.random.uniform(0.2, 1.5))
        finally:
            self.leave()

    def drag(self) -> None:
        """Move the slider over values that nobody else passes to one of one's own, and wait for its numbers."""
        alpha = self.random.choice([*self.expected])
        for _ in range(6):
            passed = round(self.random.randrange(99) / 100 + (self.number + 1) / 10_000, 4)
            self.own.add(passed)
            self._post(passed)
            time.sleep(0.05)
        released, waited = time.perf_counter(), None
        if alpha in self._check_owner(self._post(alpha)):
            waited = time.perf_counter() - released
        event = self._join("run", [])
        for message in self.visitor.follow(BUSY_SECONDS):
            if message.get("event_id") != event:
                continue
            if alpha in self._check_owner(message) and waited is None:
                waited = time.perf_counter() - released
            if message["msg"] == "process_completed":
                self._check(message, alpha)
                with self.findings.lock:
                    self.findings.num_checked += 1
                    if waited is not None:
                        (self.findings.first_bar if alpha in self.seen else self.findings.new_bar).append(waited)
                assert waited is not None, "the numbers came and no bar"
                self.seen.add(alpha)
                return
        raise Failure("the call did not end")

    def search(self) -> None:
        """Look for the best alpha, which is the same for all, who have the same models and sentences."""
        message = self._wait(self._join("find_best", []))
        said = message["output"]["data"][0]
        if said.get("error"):
            raise Failure(said["message"])
        assert said["message"].startswith(f"RegMean α = {self.best:g} on select"), said

    def upload(self) -> None:
        """Send a file, look at its first rows, and find nobody else's."""
        word = f"mine-{self.number}-{self.random.randrange(36**6):x}"
        file = self._send("own.csv", f"text,label\n{word},negative\nother,positive\n".encode())
        message = self._wait(self._join("preview", [file]))
        assert {*WORD.findall(str(message))} == {word}, "another file's rows"

    def bring_model(self) -> None:
        """Send a model's files and add it, which a child process tries; then leave, for the page shows that now."""
        files = [self._send(name, content) for name, content in self.model.items()]
        self._bring("add_model", [None, files, "", "", False])

    def bring_data(self) -> None:
        """Send sentences and add them as a domain, which a child process reads; then leave."""
        rows = "".join(f"w{i} w{i + 1},{('negative', 'positive')[i % 2]}\n" for i in range(60))
        file = self._send("own.csv", f"text,label\n{rows}".encode())
        self._bring("add_data", [file, "", None, None, "", "", "text", "", "label", "", None])

    def _bring(self, name: str, data: list[Any]) -> None:
        try:
            said = self._wait(self._join(name, data))["output"]["data"][-1]
            if said.get("error"):
                raise Failure(said["message"])
            assert said["message"].startswith("Added "), said
        finally:
            self.leave()
            self.visitor = self._open()

    def zip(self) -> None:
        """Have a merge packed, and download it."""
        self._post(self.random.choice([*self.expected]))
        said, made, *_ = self._wait(self._join("make_zip", ["regmean"]))["output"]["data"]
        if said.get("error"):
            raise Failure(said["message"])
        answer = self.visitor.http.get(f"/gradio_api/file={made['value']['path']}")
        assert answer.content[:2] == b"PK", answer.text[:200]

    def cancel(self) -> None:
        """Begin, and take the call itself back, as a program does that no longer wants it."""
        self._post(self.random.choice([*self.expected]))
        event = self._join("run", [])
        time.sleep(self.random.uniform(0.0, 0.5))
        body = {"session_hash": self.visitor.session, "fn_index": self.visitor.calls["run"]["id"], "event_id": event}
        answer = self.visitor.http.post("/gradio_api/cancel", json=body)
        if answer.status_code != 200:
            raise Failure(answer.text)
        self._wait(event)

    def stop(self) -> None:
        """Begin, stop at once, and see the work end."""
        self._post(self.random.choice([*self.expected]))
        event = self._join("run", [])
        time.sleep(self.random.uniform(0.0, 0.5))
        answer = self.visitor.http.post("/gradio_api/run/stop", json={"data": [], "session_hash": self.visitor.session})
        if answer.status_code != 200:
            raise Failure(answer.text)
        self._wait(event)

    def close(self) -> None:
        """Begin something, close the page in the middle of it, and come back with a new one."""
        self._post(self.random.choice([*self.expected]))
        self._join("run", [])
        time.sleep(self.random.uniform(0.0, 0.5))
        self.leave()
        self.visitor = self._open()

    def _open(self) -> Visitor:
        visitor = Visitor(self.server)
        self.controls = visitor.controls()
        self.place = self.controls.index(START)
        self.heart = Heart(visitor)
        return visitor

    def leave(self) -> None:
        """Close the page."""
        self.heart.stop()
        self.visitor.http.close()

    def _send(self, name: str, content: bytes) -> dict[str, Any]:
        """Upload a file; what a call names it by."""
        answer = self.visitor.upload(name, content)
        if answer.status_code != 200:
            raise Failure(answer.text)
        return {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def _post(self, alpha: float) -> Any:
        """Move the slider; what is drawn at once."""
        self.controls[self.place] = alpha
        body = {"data": self.controls, "session_hash": self.visitor.session}
        answer = self.visitor.http.post("/gradio_api/run/post", json=body)
        if answer.status_code != 200:
            raise Failure(answer.text)
        return answer.json()

    def _join(self, name: str, data: list[Any]) -> str:
        answer = self.visitor.join(name, data)
        if answer.status_code != 200:
            raise Failure(answer.text)
        return answer.json()["event_id"]

    def _wait(self, event: str) -> dict[str, Any]:
        for message in self.visitor.follow(BUSY_SECONDS):
            if message.get("event_id") == event:
                self._check_owner(message)
                if message["msg"] == "process_completed":
                    if not message["success"]:
                        raise Failure(str(message["output"].get("error")))
                    return message
        raise Failure("the call did not end")

    def _check_owner(self, message: Any) -> set[float]:
        """The alphas in what the visitor is sent, each of which must be this one's."""
        shown = {float(text) for text in SHOWN.findall(str(message))}
        assert shown <= self.own, f"another visitor's results: α = {sorted(shown - self.own)}"
        return shown

    def _check(self, message: dict[str, Any], alpha: float) -> None:
        if not message["success"]:
            raise Failure(str(message["output"].get("error")))
        table = message["output"]["data"][3]
        rows = {row[0]: row for row in table.get("data", [])} if isinstance(table, dict) else {}
        found = rows.get(TITLE.format(alpha))
        assert found == self.expected[alpha], f"{found} instead of {self.expected[alpha]}"
