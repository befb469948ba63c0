"""The server's log: one line an event, with no token, no text of anybody and no path of the machine in it."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from fusion_ui.settings import Settings

LOGGER = logging.getLogger("fusion_ui")
MAX_LINE = 2000
MAX_FRAMES = 12

# Tokens first: what is left of an address could hide one.
_SECRETS = (
    (re.compile(r"\b(hf_|ghp_|github_pat_|sk-)\w{4,}|\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "[token]"),
    (re.compile(r"(?i)\b(bearer|basic|authorization:|token=|password=)\s*\S+"), "[token]"),
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"]+"), "[address]"),
    (re.compile(r"(?<![\w.])(?:~|\.{1,2})?(?:/[^\s/'\":,;()]+)+/?|\b[A-Za-z]:\\[^\s'\"]+"), "[path]"),
)


def set_up_logs(settings: Settings) -> None:
    """Let every logger of this process write through one handler, to standard error.

    Messages of other libraries pass from warnings on: below that they tell addresses.
    """
    handler = logging.StreamHandler(sys.stderr)
    has_details = settings.is_for_one_person if settings.log_details is None else settings.log_details
    handler.setFormatter((JsonLines if settings.log_format == "json" else KeyValues)(has_details))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(settings.log_level.upper())
    logging.captureWarnings(True)
    _take_over_gradio()


def take_over_uvicorn() -> None:
    """The web server brings handlers of its own, with tracebacks and addresses; once it runs, they go."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


class LineFormatter(logging.Formatter):
    """What both formats share.

    Args:
        has_details: an exception's message and source lines are told, which may hold what a person typed.
    """

    def __init__(self, has_details: bool) -> None:
        super().__init__()
        self._has_details = has_details

    def facts(self, record: logging.LogRecord) -> dict[str, Any]:
        """What the record says, key by key. A fact that the code added goes last."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        found: dict[str, Any] = {"time": when, "level": record.levelname.lower()}
        if record.name != LOGGER.name:
            found["from"] = record.name
        found["event"] = scrub(record.getMessage().strip())
        if record.exc_info and record.exc_info[1] is not None:
            found |= describe_error(record.exc_info[1], self._has_details)
        return found | getattr(record, "facts", {})


class JsonLines(LineFormatter):
    """For programs: one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        return json.dumps(self.facts(record), default=str)


class KeyValues(LineFormatter):
    """For people: ``time level event key=value``; details of a bug on lines of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it where details are wanted."""
        facts = self.facts(record)
        head, details = [facts.pop(key) for key in ("time", "level", "event")], facts.pop("details", None)
        line = " ".join([*head, *(f"{key}={value}" for key, value in facts.items())])
        line = line.replace("\n", "\\n").replace("\r", "\\r")
        return f"{line}\n{details}" if details else line


def scrub(text: str) -> str:
    """The text without what looks like a token, an address or a path, and not endless."""
    for pattern, name in _SECRETS:
        text = pattern.sub(name, text)
    return text[:MAX_LINE]


def describe_error(error: BaseException, has_details: bool) -> dict[str, Any]:
    """Its type and where in the code it was raised; its own words only with details."""
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    where = [f"{_module_of(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
    found: dict[str, Any] = {"error": type(error).__name__, "where": where}
    if has_details:
        found["details"] = "".join(traceback.format_exception(error))
    return found


def _module_of(filename: str) -> str:
    """The end of a source file's path, which is the same on every machine."""
    for start in ("site-packages/", "dist-packages/", "lib/python3"):
        if start in filename:
            return filename.rpartition(start)[2]
    _, found, rest = filename.rpartition("fusion_ui/")
    return found + rest if found else filename.rpartition("/")[2]


def report_exception() -> None:
    """Log the exception that is being handled, where others would print it with all that it says."""
    error = sys.exception()
    import gradio as gr

    if isinstance(error, gr.Error):  # a component refused what it was sent
        LOGGER.info("a request was refused", extra={"facts": {"error": type(error).__name__}})
    else:
        LOGGER.error("a request failed", exc_info=error)


def _take_over_gradio() -> None:
    """Gradio prints tracebacks of whatever a handler or a component raises, words of visitors among them."""
    import gradio.queueing
    import gradio.route_utils
    import gradio.routes

    for module in (gradio.queueing, gradio.route_utils, gradio.routes):
        vars(module)["traceback"] = SimpleNamespace(print_exc=report_exception)
