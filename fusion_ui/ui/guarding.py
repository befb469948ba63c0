"""Strangers are kept apart: the gate before gradio, and the janitor behind it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import gradio as gr
from starlette.middleware import Middleware

from fusion_ui.sources.hub_access import shared_cache
from fusion_ui.ui.fetched import projects_of, trim_fetched
from fusion_ui.ui.gate import Gate
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.janitor import Janitor, tidy_cache
from fusion_ui.ui.sessions import Sessions


def receive_uploads(sessions: Sessions) -> None:
    """Let gradio keep what visitors send beside their own directories, where a dead server's things are swept.

    To be called before the page's components are made, which each remember where that is.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(sessions.uploads.absolute())


def guard(handlers: Handlers, app: gr.Blocks) -> Middleware:
    """The gate to put before gradio; the janitor begins his rounds, with what killed servers left half-written."""

    def waiting() -> Iterator[str]:
        for queue in [*app._queue.event_queue_per_concurrency_id.values()]:
            yield from [event.session_hash for event in queue.queue]

    def trim() -> None:
        projects = projects_of(sessions.all(), handlers.project)
        trim_fetched(shared_cache(), settings.max_downloads_bytes, projects, settings.max_job_seconds)

    sessions, settings = handlers.sessions, handlers.workspace.settings
    owners, quota = sessions.owners, sessions.quota
    tidy_cache(settings.cache_dir)
    Janitor(sessions, owners, settings.cache_dir, None if settings.allows_folders else trim).start()
    return Middleware(
        Gate,
        owners=owners,
        quota=quota,
        settings=settings,
        uploads=sessions.uploads,
        welcome=sessions.welcome,
        farewell=sessions.forget,
        waiting=waiting,
    )
