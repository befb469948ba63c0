"""Long work outlives a reload of its page: what was interrupted goes on by itself, from what is known of it.

A page that is left stops its work, so that nobody computes for nobody. Statistics, answers and exports are kept as they
are computed, so the page that is loaded next only does what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction

from fusion_ui.ui.render import render_status
from fusion_ui.ui.session import Session
from fusion_ui.ui.sessions import Sessions

TITLES = {
    "pairs": "Pairs",
    "growth": "Growth",
    "examine": "Layers",
    "find_flips": "Flips",
    "find_best": "The search for the best value",
    "make_zip": "The download",
}
"""What goes on after a reload: the event's name on the page's interface -> for people. Pushing to the hub is not among
them, for its token is not kept."""
SEARCH, EVALUATE = "find_best", "run"
PARTING_SECONDS = 5.0
"""How much later than its reload a page may be known to have been left."""
POLL_SECONDS = 0.1

Handle = Callable[..., Iterator[Any]]


def wire_resuming(app: gr.Blocks, arrived: Any, sessions: Sessions, said: gr.HTML) -> None:
    """Let the work of `TITLES` be remembered while it runs, and go on after a page was loaded.

    Args:
        arrived: the event after which the session of a page is known.
        said: the status line that tells of it, wherever the work's own is.
    """
    named: dict[str, BlockFunction] = {f.api_name: f for f in app.fns.values() if f.api_name in (*TITLES, EVALUATE)}
    handles: dict[str, Handle] = {}
    for name, work in named.items():
        assert work.fn is not None
        if name in TITLES:
            work.fn = remember(name, work.fn, sessions)
        handles[name] = work.fn
    outputs = dict.fromkeys(part for work in named.values() for part in [*work.inputs, *work.outputs])

    def resume(request: gr.Request) -> Iterator[dict[Any, Any]]:
        yield {said: gr.skip()}  # gradio empties all outputs of what yields nothing
        for name, values in wait_for_unfinished(sessions, sessions.get(request.session_hash)).items():
            title = TITLES[name]
            told = render_status(f"{title} was interrupted by the reload and goes on.")
            yield {said: told, **_pair(named[name].inputs, values)}
            for step in handles[name](request, *values):
                if isinstance(step[0], dict) and "message" in step[0]:
                    told = step[0] | {"message": f"{title}, after the reload: {step[0]['message']}"}
                yield {said: told, **_pair(named[name].outputs, step)}
            if name == SEARCH:  # which has changed a setting
                for step in handles[EVALUATE](request):
                    yield _pair(named[EVALUATE].outputs, step)

    arrived.success(
        resume, None, [said, *outputs], show_progress="hidden", concurrency_limit=32, api_visibility="private"
    )


def remember(name: str, handle: Handle, sessions: Sessions) -> Handle:
    """The handler; while it runs, its visitor's session says so, and still does when the page was left meanwhile."""

    @wraps(handle)
    def run(request: gr.Request, *values: Any) -> Iterator[Any]:
        session = sessions.get(request.session_hash)
        session.unfinished[name] = values
        try:
            yield from handle(request, *values)
        except GeneratorExit:  # nobody listens any more
            raise
        except BaseException:
            session.unfinished.pop(name, None)
            raise
        if not session.has_left:
            session.unfinished.pop(name, None)

    return run


def wait_for_unfinished(sessions: Sessions, session: Session) -> dict[str, tuple[Any, ...]]:
    """What this visitor's page was doing when it was left: at once, or once the server knows that it was."""
    end = time.monotonic() + PARTING_SECONDS
    while True:
        found, session.unfinished = session.unfinished or sessions.take_unfinished(session.visitor), {}
        others = [other for other in sessions.of_visitor(session.visitor) if other is not session and other.unfinished]
        if found or not others or time.monotonic() > end:
            return found
        time.sleep(POLL_SECONDS)


def _pair(parts: Any, values: Any) -> dict[Any, Any]:
    return dict(zip(parts, values, strict=True))
