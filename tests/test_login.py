"""Logging in on a Space: the visitor's own login pushes, and nobody else's token does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
import gradio.oauth
import pytest
from gradio.helpers import special_args
from starlette.requests import Request
from tiny_project import write_project

from fusion_ui.settings import Settings
from fusion_ui.ui.app import build_app
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.taking_away import TakingAway
from fusion_ui.workspace import Workspace

OWNER, VISITOR = "hf_ofTheOwner", "hf_ofTheVisitor"


@pytest.fixture
def on_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SPACE_ID": "owner/space", "OAUTH_CLIENT_ID": "id", "OAUTH_CLIENT_SECRET": "secret", "HF_TOKEN": OWNER,
        "OAUTH_SCOPES": "openid profile contribute-repos", "OPENID_PROVIDER_URL": "https://hub.example",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
        monkeypatch.setattr(gradio.oauth, name, value, raising=False)  # read from there when gradio was imported
    monkeypatch.setattr(gradio.oauth, "get_space", gradio.oauth.get_space)  # put back after the test


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the push card asked for."""
    found: list[tuple[Any, ...]] = []

    def push(self: TakingAway, *values: Any) -> Iterator[list[Any]]:
        found.append(values)
        yield [{"message": "pushed", "error": False}, ""]

    monkeypatch.setattr(TakingAway, "push", push)
    return found


def build(settings: Settings) -> gr.Blocks:
    folder = settings.cache_dir / "project"
    folder.mkdir(parents=True)
    workspace, project = Workspace(settings), write_project(folder, 2)
    return build_app(workspace, project, Handlers(workspace, project))


def push(app: gr.Blocks, session: dict[str, Any], *values: Any) -> list[Any]:
    """The push event, as gradio calls it for a request with that cookie."""
    event = next(event for event in app.fns.values() if event.api_name == "push")
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b"", "session": session}
    request = gr.Request(request=Request(scope), session_hash="visitor")
    inputs, *_ = special_args(event.fn, [*values], request)
    return [*event.fn(*inputs)]  # type: ignore[misc]


def login(token: str, seconds: float = 3600) -> dict[str, Any]:
    about = {"access_token": token, "scope": "contribute-repos", "expires_at": time.time() + seconds, "userinfo": {}}
    return {"oauth_info": about}


def test_the_push_uses_the_visitors_login_and_nothing_else(on_a_space: None, settings: Settings, pushed: list):
    app = build(settings)
    assert any(isinstance(block, gr.LoginButton) for block in app.blocks.values()) and app.expects_oauth
    push(app, login(VISITOR), "regmean", "visitor/merge", True)
    assert pushed == [("visitor", "regmean", "visitor/merge", True, VISITOR)]
    event = next(event for event in app.fns.values() if event.api_name == "push")
    assert [block.elem_id for block in event.inputs] == ["taken", "push-to", "push-private"], "no token is taken"


@pytest.mark.parametrize("session", [{}, login(VISITOR, seconds=-10)], ids=["not logged in", "expired"])
def test_who_is_not_logged_in_pushes_nothing(on_a_space: None, settings: Settings, pushed: list, session: dict):
    ((status, _),) = push(build(settings), session, "regmean", "visitor/merge", True)
    assert status["error"] and "Log in" in status["message"] and pushed == []


def test_elsewhere_a_token_is_typed_and_no_login_is_offered(settings: Settings, pushed: list, monkeypatch):
    for name in ("SPACE_ID", "OAUTH_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    app = build(settings)
    assert not app.expects_oauth
    push(app, {}, "regmean", "visitor/merge", True, "hf_typed")
    assert pushed == [("visitor", "regmean", "visitor/merge", True, "hf_typed")]
