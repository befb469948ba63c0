"""Serving the page: the demo prepared, the port checked, one address, no telemetry."""

from __future__ import annotations

import socket
import sys

import gradio as gr

from fusion_ui.errors import SettingsError
from fusion_ui.progress import Progress
from fusion_ui.settings import ASSETS
from fusion_ui.ui.app import build_app
from fusion_ui.ui.guarding import guard
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.panels.fuse import MAIN
from fusion_ui.ui.request import default_request
from fusion_ui.ui.theme import CSS, make_theme, page_head
from fusion_ui.workspace import Workspace


def serve(workspace: Workspace, progress: Progress) -> None:
    """Prepare the demo, measure what the first page needs, and serve until interrupted.

    Raises:
        SettingsError: the port is taken.
        SourceUnavailableError, CorruptedDownloadError: the demo cannot be prepared.
    """
    host, port = workspace.settings.host, workspace.settings.port
    _check_port(host, port)
    project = workspace.prepare_demo(progress.part(0.0, 0.5))
    plan = workspace.plan(default_request(project).recipe(project, MAIN[0]))
    workspace.measure(plan, progress.part(0.5, 1.0))
    handlers = Handlers(workspace, project)
    app = build_app(workspace, project, handlers)
    launch(app, host, port, handlers)
    print(f"\nFusion UI is ready on http://{host}:{port}  (Ctrl-C ends it)", file=sys.stderr, flush=True)
    app.block_thread()


def launch(app: gr.Blocks, host: str, port: int, handlers: Handlers) -> None:
    """Start serving the page: on one address, without telemetry, sharing or a history of inputs.

    Args:
        handlers: what the page stands on, whose visitors are kept apart.

    Raises:
        SettingsError: another program took the port in the meantime.
    """
    try:
        _launch(app, host, port, handlers)
    except OSError as error:
        raise _port_error(host, port, error.strerror or str(error)) from None


MAX_UPLOAD = "4gb"


def _launch(app: gr.Blocks, host: str, port: int, handlers: Handlers) -> None:
    app.launch(
        server_name=host,
        server_port=port,
        app_kwargs={"middleware": [guard(handlers)]},
        prevent_thread_lock=True,
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
        head=page_head(),
        favicon_path=ASSETS / "logo.svg",
    )


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
