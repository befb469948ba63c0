"""Health, metrics and logs, each by itself: what they say, and what they never say."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import gradio as gr
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from fusion_ui.errors import ParameterError, StoppedError
from fusion_ui.job_log import EndedJob, JobLog
from fusion_ui.settings import Settings
from fusion_ui.ui.hosting import logs
from fusion_ui.ui.hosting.door import STOPPING, Door
from fusion_ui.ui.hosting.health import ServerState
from fusion_ui.ui.hosting.logs import JsonLines, KeyValues, scrub, set_up_logs
from fusion_ui.ui.hosting.metrics import Metrics

TOKEN, TEXT, PATH = "hf_AbCdEfGhIjKlMnOp", "My doctor told me yesterday", "/home/someone/private/model"


def make_metrics(settings: Settings) -> Metrics:
    return Metrics(settings, {"sessions": ("Visitors.", lambda: 3)})


def client_of(metrics: Metrics, state: ServerState) -> TestClient:
    async def work(request: Request) -> PlainTextResponse:
        return PlainTextResponse("worked")

    routes = [Route("/healthz", state.answer), Route("/metrics", metrics.answer)]
    routes += [Route("/work", work, methods=["GET", "POST", "PUT"])]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(Door, state=state, count=metrics.count_request)]))


@pytest.fixture(autouse=True)
def on_no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)


# health --------------------------------------------------------------------------------------------------------------


def test_health_follows_the_servers_life(settings: Settings):
    state = ServerState()
    client = client_of(make_metrics(settings), state)
    assert client.get("/healthz").status_code == 503
    state.is_ready = True
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["status"], answer.json()["is_ready"]) == (200, "ready", True)
    assert answer.json()["version"] and answer.json()["uptime_seconds"] >= 0
    state.is_stopping = True
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["is_ready"]) == (503, False)


def test_uptime_does_not_follow_a_clock_that_is_set(monkeypatch: pytest.MonkeyPatch):
    state = ServerState()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert 0 <= state.describe()["uptime_seconds"] < 5


def test_nothing_new_comes_in_while_the_server_stops_and_what_is_read_still_goes_out(settings: Settings):
    state = ServerState(is_ready=True)
    client = client_of(make_metrics(settings), state)
    assert client.post("/work").text == "worked"
    state.is_stopping = True
    refused = client.post("/work")
    assert (refused.status_code, refused.json()["detail"]) == (503, STOPPING)
    assert client.get("/work").text == "worked"


# metrics -------------------------------------------------------------------------------------------------------------


def read(text: str) -> dict[tuple[str, frozenset], float]:
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def test_metrics_count_what_happened(settings: Settings):
    (settings.statistics_dir).mkdir(parents=True)
    (settings.statistics_dir / "a.safetensors").write_bytes(b"x" * 1000)
    metrics = make_metrics(settings)
    client = client_of(metrics, ServerState(is_ready=True))
    for _ in range(3):
        client.post("/work")
    client.request("BREW", "/work")
    client.get("/private/name/of/somebody")
    metrics.count_job(EndedJob("evaluate", "done", 2.0, 7))
    metrics.count_job(EndedJob("evaluate", "stopped", 4.0, 7))
    answer = client.get("/metrics")
    found = read(answer.text)
    assert answer.headers["content-type"].startswith("text/plain")
    assert found["fusion_ui_requests_total", frozenset({("method", "POST"), ("status", "2xx")})] == 3
    assert found["fusion_ui_requests_total", frozenset({("method", "other"), ("status", "4xx")})] == 1
    assert found["fusion_ui_jobs_total", frozenset({("kind", "evaluate"), ("outcome", "stopped")})] == 1
    assert found["fusion_ui_job_seconds_sum", frozenset({("kind", "evaluate")})] == 6
    assert found["fusion_ui_job_seconds_count", frozenset({("kind", "evaluate")})] == 2
    assert found["fusion_ui_sessions", frozenset()] == 3
    assert found["fusion_ui_memory_bytes", frozenset()] > 1e7
    assert found["fusion_ui_cache_bytes", frozenset({("cache", "statistics")})] == 1000
    assert "somebody" not in answer.text and "BREW" not in answer.text and str(settings.cache_dir) not in answer.text


@pytest.mark.parametrize(
    ("changes", "headers", "status"),
    [
        ({}, {}, 200),
        ({}, {"X-Forwarded-For": "1.2.3.4"}, 404),
        ({"host": "0.0.0.0"}, {}, 404),
        ({"root_path": "/fusion"}, {}, 404),
        ({"metrics_token": SecretStr("right")}, {}, 401),
        ({"metrics_token": SecretStr("right")}, {"Authorization": "Bearer wrong"}, 401),
        ({"metrics_token": SecretStr("right")}, {"Authorization": "Bearer wröng".encode().decode("latin-1")}, 401),
        ({"host": "0.0.0.0", "metrics_token": SecretStr("right")}, {"Authorization": "Bearer right"}, 200),
    ],
)
def test_metrics_are_read_by_whom_the_settings_allow(settings: Settings, changes: dict, headers: dict, status: int):
    metrics = make_metrics(settings.model_copy(update=changes))
    sent = {name: value.encode("latin-1") for name, value in headers.items()}
    assert client_of(metrics, ServerState(is_ready=True)).get("/metrics", headers=sent).status_code == status


def test_a_space_keeps_its_metrics_to_itself(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPACE_ID", "owner/space")
    assert client_of(make_metrics(settings), ServerState(is_ready=True)).get("/metrics").status_code == 404


# jobs ----------------------------------------------------------------------------------------------------------------


def run_job(jobs: JobLog, error: BaseException | None = None) -> Generator[int, None, str]:
    def steps() -> Generator[int, None, str]:
        yield 1
        if error:
            raise error
        return "result"

    return jobs.record("evaluate", 4, steps())


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, "done"), (StoppedError("x"), "stopped"), (ParameterError(TEXT), "refused"), (ValueError(TEXT), "failed")],
)
def test_a_job_is_one_line_that_says_how_it_ended(error: Exception | None, outcome: str, caplog):
    caplog.set_level(logging.INFO, "fusion_ui")
    jobs, ended = JobLog(), []
    jobs.follow(ended.append)
    steps = run_job(jobs, error)
    assert (next(steps), jobs.num_running) == (1, 1)
    with pytest.raises(StopIteration if error is None else type(error)) as caught:
        next(steps)
    if error is None:
        assert caught.value.value == "result"
    assert jobs.num_running == 0
    (record,) = caplog.records
    assert (record.facts["kind"], record.facts["outcome"], record.facts["session"]) == ("evaluate", outcome, 4)
    assert ended[0].outcome == outcome and TEXT not in json.dumps(record.facts)


def test_a_job_whose_page_is_closed_was_stopped():
    jobs, ended = JobLog(), []
    jobs.follow(ended.append)
    steps = run_job(jobs)
    next(steps)
    steps.close()
    assert ended[0].outcome == "stopped" and jobs.num_running == 0


def test_a_job_lasts_as_long_as_it_lasts_when_the_clock_jumps(monkeypatch: pytest.MonkeyPatch):
    jobs, ended = JobLog(), []
    jobs.follow(ended.append)
    steps = run_job(jobs)
    next(steps)
    for now in (4e9, 0.0):
        monkeypatch.setattr("time.time", lambda now=now: now)
    list(steps)
    assert 0 <= ended[0].seconds < 5


# logs ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def captured(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Reads what went to standard error; the loggers are as they were afterwards."""
    import gradio.queueing
    import gradio.route_utils
    import gradio.routes

    modules = (gradio.queueing, gradio.route_utils, gradio.routes)
    root, ours = logging.getLogger(), logging.getLogger("fusion_ui")
    kept = root.handlers[:], root.level, ours.level, [vars(module)["traceback"] for module in modules]
    yield lambda: capsys.readouterr().err
    logging.captureWarnings(False)
    root.handlers[:], (root.level, ours.level) = kept[0], kept[1:3]
    for module, found in zip(modules, kept[3], strict=True):
        vars(module)["traceback"] = found


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_token_no_text_and_no_path_gets_into_the_log(
    log_format: str, settings: Settings, captured: Callable[[], str]
):
    set_up_logs(settings.model_copy(update={"host": "0.0.0.0", "log_format": log_format}))
    ours, theirs = logging.getLogger("fusion_ui"), logging.getLogger("somebody.else")
    ours.info("kept %s for %s", PATH, TOKEN)
    theirs.warning("GET https://hub.example/api?token=%s from %s", TOKEN, PATH)
    theirs.info("not even this: %s", TEXT)
    for error in (ValueError(f"{TEXT} {PATH} {TOKEN}"), gr.Error(TEXT), FileNotFoundError(2, "No such file", PATH)):
        try:
            raise error from KeyError(TEXT)
        except (ValueError, gr.Error, FileNotFoundError):
            ours.exception("a handler failed")
            logs.report_exception()
    written = captured()
    assert written.count("\n") == 2 + 3 + 3
    for secret in (TOKEN, "AbCdEf", TEXT, "doctor", PATH, "someone", "hub.example", str(Path(__file__).parent)):
        assert secret not in written, secret
    assert "ValueError" in written and "test_hosting.py" in written and "[path]" in written


def test_a_json_line_is_one_line_and_says_what_a_text_line_says(settings: Settings):
    record = logging.LogRecord("fusion_ui", logging.INFO, "", 0, "job\nforged line", (), None)
    record.facts = {"kind": "evaluate", "seconds": 1.5}
    line = JsonLines(False).format(record)
    assert "\n" not in line
    assert json.loads(line) | {"time": ""} == {
        "time": "", "level": "info", "event": "job\nforged line", "kind": "evaluate", "seconds": 1.5,
    }  # fmt: skip
    text = KeyValues(False).format(record)
    assert "\n" not in text and text.endswith("info job\\nforged line kind=evaluate seconds=1.5")


def test_one_person_alone_gets_the_whole_traceback(settings: Settings, captured: Callable[[], str]):
    set_up_logs(settings)
    try:
        raise ValueError(TEXT)
    except ValueError:
        logging.getLogger("fusion_ui").exception("a handler failed")
    written = captured()
    assert TEXT in written and "Traceback" in written


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("at /etc/passwd now", "at [path] now"),
        ("'/a/b c'", "'[path] c'"),
        ("~/x and ./y/z and C:\\Users\\me", "[path] and [path] and [path]"),
        ("Authorization: Bearer abc.def", "[token] abc.def"),
        ("Bearer s3cret", "[token]"),
        ("and/or 3/4 of α/β", "and/or 3/4 of α/β"),
    ],
)
def test_what_is_scrubbed(text: str, clean: str):
    assert scrub(text) == clean


def test_many_threads_log_whole_lines(settings: Settings, captured: Callable[[], str]):
    set_up_logs(settings.model_copy(update={"log_format": "json"}))
    jobs = JobLog()
    threads = [threading.Thread(target=lambda: [list(run_job(jobs)) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = captured().splitlines()
    assert len(lines) == 200 and all(json.loads(line)["kind"] == "evaluate" for line in lines)
