"""Serving the page: the demo prepared, the port checked, one address, no telemetry."""

from __future__ import annotations

import logging
import socket
import sys
import time
from typing import Any

import gradio as gr
import gradio.http_server
import transformers  # noqa: F401 - replaces itself while it is imported: two visitors at once would find half of it
from starlette.middleware import Middleware
from starlette.routing import Route

from fusion_ui.errors import SettingsError
from fusion_ui.progress import Progress
from fusion_ui.projects.project import Project
from fusion_ui.settings import ASSETS
from fusion_ui.sources.storage import check_writable
from fusion_ui.ui.app import build_app
from fusion_ui.ui.demo_only import REFUSAL
from fusion_ui.ui.guarding import guard
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.hosting.door import Door
from fusion_ui.ui.hosting.health import ServerState
from fusion_ui.ui.hosting.logs import set_up_logs, take_over_uvicorn
from fusion_ui.ui.hosting.metrics import Metrics
from fusion_ui.ui.hosting.stopping import end_process, stop_server, wait_for_signal
from fusion_ui.ui.panels.fuse import MAIN
from fusion_ui.ui.request import default_request
from fusion_ui.ui.theme import CSS, make_theme, page_head
from fusion_ui.ui.zero_gpu import import_models
from fusion_ui.workspace import Workspace

LOGGER = logging.getLogger("fusion_ui")


def serve(workspace: Workspace, progress: Progress) -> None:
    """Prepare the demo, measure what the first page needs, and serve until the process is asked to end.

    Raises:
        SettingsError: the port is taken.
        SourceUnavailableError, CorruptedDownloadError: the demo cannot be prepared.
    """
    _check_port(workspace.settings.host, workspace.settings.port)
    check_writable(workspace.settings.cache_dir)
    project = workspace.prepare_demo(progress.part(0.0, 0.5))
    if workspace.settings.borrows_gpu:  # and the first visitor lets it measure
        import_models(project)
    else:
        plan = workspace.plan(default_request(project).recipe(project, MAIN[0]))
        workspace.measure(plan, progress.part(0.5, 1.0))
    serve_project(workspace, project)


def serve_project(workspace: Workspace, project: Project) -> None:
    """Serve a prepared project until the process is asked to end, and end it.

    Raises:
        SettingsError: the port is taken, or nothing can be written to the cache.
    """
    settings = workspace.settings
    host, port = settings.host, settings.port
    check_writable(settings.cache_dir)
    set_up_logs(settings)
    handlers = Handlers(workspace, project)
    app = build_app(workspace, project, handlers)
    state = launch(app, host, port, handlers)
    print(f"\nFusion UI is ready on {address_of(host, port)}  (Ctrl-C ends it)", file=sys.stderr, flush=True)
    name = wait_for_signal()
    LOGGER.info("asked to stop", extra={"facts": {"signal": name}})
    stop_server(app, state, handlers, settings.stop_seconds)
    end_process()


def launch(app: gr.Blocks, host: str, port: int, handlers: Handlers) -> ServerState:
    """Start serving the page: on one address, without telemetry, sharing or a history of inputs.

    Args:
        handlers: what the page stands on, whose visitors are kept apart and whose health is served beside it.

    Raises:
        SettingsError: another program took the port in the meantime.
    """
    state = ServerState()
    beside = serve_beside(app, handlers, state)
    try:
        _launch(app, host, port, handlers.workspace.settings.root_path.rstrip("/"), beside)
    except OSError as error:
        raise _port_error(host, port, error.strerror or str(error)) from None
    state.is_ready = True
    return state


def serve_beside(app: gr.Blocks, handlers: Handlers, state: ServerState) -> dict[str, Any]:
    """What the web server gets besides the page: two routes, and the door before everything."""
    jobs, sessions = handlers.workspace.jobs, handlers.sessions
    metrics = Metrics(
        handlers.workspace.settings,
        {
            "jobs_running": ("Jobs that have begun and not ended.", lambda: jobs.num_running),
            "jobs_waiting": ("Requests in the queue.", lambda: len(app._queue)),
            "sessions": ("Visitors whose page is open, or was a moment ago.", lambda: len(sessions.all())),
            "uptime_seconds": ("Seconds since the server started.", lambda: time.monotonic() - state.started),
        },
    )
    jobs.follow(metrics.count_job)
    refusals = {"upload": REFUSAL} if handlers.workspace.settings.demo_only else {}
    return {
        "routes": [Route("/healthz", state.answer), Route("/metrics", metrics.answer)],
        "middleware": [
            Middleware(Door, state=state, count=metrics.count_request, refusals=refusals),
            guard(handlers, app),
        ],
    }


MAX_UPLOAD = "4gb"


def _launch(app: gr.Blocks, host: str, port: int, root_path: str, beside: dict[str, Any]) -> None:
    if ":" in host:  # gradio tries the port on 127.0.0.1 first, which such a machine may not have
        gradio.http_server.LOCALHOST_NAME = ""
    app.launch(
        server_name=f"[{host}]" if ":" in host else host,
        server_port=port,
        root_path=root_path,
        app_kwargs=beside,
        prevent_thread_lock=True,
        # Else gradio asks itself for the page, and ends where a busy machine has no answer within three seconds.
        _frontend=False,
        quiet=True,
        share=False,
        max_file_size=MAX_UPLOAD,
        show_error=False,  # a refusal is shown anyway; a bug's text may hold what is nobody's business
        run_history=False,
        max_threads=160,  # of whom most wait for their turn
        footer_links=["api"],
        ssr_mode=False,
        theme=make_theme(),
        css_paths=[CSS],
        head=page_head(root_path),
        favicon_path=ASSETS / "logo.svg",
    )
    take_over_uvicorn()


def address_of(host: str, port: int) -> str:
    """Where a browser finds the page."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check_port(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:  # of which an unknown name is one
        raise _port_error(host, port, error.strerror or str(error)) from None


def _port_error(host: str, port: int, reason: str) -> SettingsError:
    return SettingsError(
        f"The page cannot be served on {host}:{port} ({reason}). "
        "Stop what uses the port, or choose another with FUSION_UI_PORT or FUSION_UI_HOST."
    )
