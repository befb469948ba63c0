"""A real server process as an operator sees it: health, metrics, log, and how it ends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from gradio_client import Client
from hosted_server import HostedServer
from test_hosting import PATH, TEXT, TOKEN

from fusion_ui.projects.project import Project
from fusion_ui.ui.hosting.door import STOPPING

VISITOR = "0123456789abcdef" * 2


def wait_for(is_true: Callable[[], bool], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def test_a_server_says_how_it_is_and_logs_neither_token_nor_text_nor_path(demo: Project, tmp_path: Path):
    with HostedServer(tmp_path, FUSION_UI_LOG_FORMAT="json", FUSION_UI_LOG_DETAILS="false") as server:
        status, text = server.get("/healthz")
        assert (status, json.loads(text)["status"]) == (200, "ready")
        client = Client(server.address, verbose=False)
        for name, *values in (
            ("/run",),
            ("/try_it", TEXT),
            ("/add_model", PATH, [], "", TOKEN, False),
        ):
            wait_for(client.submit(*values, api_name=name).done, f"{name} ends")
        server.call("choose_curve", TEXT, PATH, TOKEN)  # a choice that there is not
        server.post("/gradio_api/queue/join", {"data": [TEXT, PATH, TOKEN], "fn_index": 99_999, "session_hash": TOKEN})
        server.get(f"/gradio_api/file={PATH}?token={TOKEN}")
        wait_for(lambda: len(server.jobs()) >= 3, "a line for every job")
        assert server.metric('fusion_ui_jobs_total{kind="trying",outcome="done"}') == 1
        assert server.metric('fusion_ui_job_seconds_count{kind="evaluate"}') >= 1
        assert server.metric("fusion_ui_sessions") >= 1
        assert server.metric("fusion_ui_memory_bytes") > 1e8
        metrics = server.get("/metrics")[1]
        assert server.stop() == 0
        log = server.log
        kinds = {job["kind"]: job["outcome"] for job in server.jobs()}
        # On a machine that is very busy, the client is taken for gone before its first evaluation has ended.
        assert kinds["evaluate"] in ("done", "stopped")
        assert (kinds["trying"], kinds["bring"]) == ("done", "refused")
        assert all(job["seconds"] >= 0 and job["session"] >= 1 for job in server.jobs())
        for secret in (TOKEN, TEXT, PATH, "doctor", "/home/someone", str(tmp_path)):
            assert secret not in log and secret not in metrics, secret
        assert "Traceback" not in log


def test_a_server_that_is_asked_to_stop_stops_its_work_writes_histories_and_leaves_nothing(
    demo: Project, tmp_path: Path
):
    with HostedServer(tmp_path, FUSION_UI_LOG_FORMAT="json") as server:
        client = Client(server.address, verbose=False)
        client.predict(VISITOR, "", None, api_name="/arrive")
        client.predict(api_name="/run")
        working = client.submit("regmean", "better", "own", api_name="/pairs")  # a minute of work
        wait_for(lambda: server.metric("fusion_ui_jobs_running") >= 1, "a job runs")
        children = psutil.Process(server.process.pid).children(recursive=True)
        seen: list[tuple[int, str, str]] = []

        def knock() -> None:
            while server.process.poll() is None:
                seen.append((*server.get("/healthz"), "asked"))
                seen.append((*server.post("/gradio_api/queue/join", {}), "posted"))
                time.sleep(0.02)

        knocking = threading.Thread(target=knock)
        knocking.start()
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 8 + 5
        knocking.join()
        assert {status for status, _, what in seen if what == "asked"} <= {0, 200, 503}
        assert {503} <= {status for status, _, what in seen if what == "posted"} <= {0, 422, 503}
        assert any(STOPPING in text for _, text, _ in seen)
        assert not working.done() or working.exception() is not None or "topped" in str(working.outputs()[-1])
        assert not any(child.is_running() for child in children)
        assert not list((server.cache / "sessions").glob("*/*"))
        assert [*(server.cache / "history").glob("*.jsonl")], "the history was written"
        assert '"event": "stopped"' in server.log
        assert {job["kind"]: job["outcome"] for job in server.jobs()}["experimenting"] == "stopped"
