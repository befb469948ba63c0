"""An orderly end: nothing new begins, what runs stops at its next point, histories are written, children are gone."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import gradio as gr
import psutil

from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.hosting.health import ServerState
from fusion_ui.ui.remembering import Remembering

LOGGER = logging.getLogger("fusion_ui")
POLL_SECONDS = 0.05
CHILD_SECONDS = 1.0
"""For a child process to end by itself before it is killed."""


def wait_for_signal() -> str:
    """Block until the process is asked to end; the signal's name. A second one ends it at once."""
    asked = threading.Event()
    names: list[str] = []

    def take(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            os._exit(128 + number)
        names.append(signal.Signals(number).name)
        asked.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, take)
    while not asked.wait(0.2):  # in short waits: some systems deliver no signal inside a long one
        pass
    return names[0]


def stop_server(app: gr.Blocks, state: ServerState, handlers: Handlers, seconds: float) -> None:
    """End everything: what runs has `seconds` to stop by itself, the rest takes at most a few more."""
    started = time.monotonic()
    state.is_stopping = True
    sessions = handlers.sessions.all()
    for session in sessions:
        session.stop()
    is_quiet = _wait(lambda: not (handlers.workspace.jobs.num_running or any(s.is_busy for s in sessions)), seconds)
    remembering = Remembering(handlers)
    for session in sessions:
        remembering.leave(session)
        for folder in filter(None, (session.folder, session.handed_out)):
            shutil.rmtree(folder, ignore_errors=True)
    end_children()
    app.close(verbose=False)
    facts = {"seconds": round(time.monotonic() - started, 2), "is_quiet": is_quiet, "num_sessions": len(sessions)}
    LOGGER.info("stopped", extra={"facts": facts})


def end_process() -> None:
    """Leave with code 0, without tearing Python down under threads that still compute: torch aborts then."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def end_children() -> None:
    """Ask every child process to end, then make it."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        _tell(child.terminate)
    _, alive = psutil.wait_procs(children, CHILD_SECONDS)
    for child in alive:
        _tell(child.kill)
    psutil.wait_procs(alive, CHILD_SECONDS)


def _tell(end: Callable[[], None]) -> None:
    try:
        end()
    except psutil.NoSuchProcess:
        return


def _wait(is_done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True
