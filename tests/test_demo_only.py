"""A page that shows its demo alone takes nothing in and sends nothing out, whoever asks, and however."""

from __future__ import annotations

import inspect
import json
import uuid
from pathlib import Path
from urllib.request import Request

import pytest
from hosted_server import HostedServer

from fusion_ui.errors import SettingsError
from fusion_ui.projects.project import Project
from fusion_ui.settings import Settings
from fusion_ui.ui.app import build_app
from fusion_ui.ui.bringing import Bringing
from fusion_ui.ui.demo_only import DemoAlone
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.taking_away import TakingAway
from fusion_ui.workspace import Workspace

OPEN = {"choose", "contents"}
"""The demo can be chosen, and what the visitor's own project holds, which is nothing, can be listed."""


@pytest.fixture
def handlers(settings: Settings, demo: Project) -> Handlers:
    return Handlers(Workspace(settings.model_copy(update={"demo_only": True})), demo)


def test_whatever_brings_something_is_refused(handlers: Handlers, demo: Project):
    bringing = DemoAlone(handlers.workspace, handlers.sessions, demo)
    names = [name for name, _ in inspect.getmembers(Bringing, inspect.isfunction) if not name.startswith("_")]
    assert len(names) > 10
    for name in sorted(set(names) - OPEN):
        with pytest.raises(SettingsError, match="built-in project alone"):
            getattr(bringing, name)("visitor")
    assert bringing.choose("visitor", demo.name) is demo
    for name in ("own", "distilbert-sentiment", "/etc"):
        with pytest.raises(SettingsError):
            bringing.choose("visitor", name)


def test_nothing_is_pushed_and_no_file_is_opened(handlers: Handlers, tmp_path: Path):
    taking = TakingAway(handlers)
    with pytest.raises(SettingsError):
        next(taking.push("visitor", "regmean", "owner/name", True, "hf_token"))
    with pytest.raises(SettingsError):
        taking.open_recipe("visitor", str(tmp_path / "recipe.json"))


def test_no_folder_may_be_named(settings: Settings):
    assert settings.allows_folders
    assert not settings.model_copy(update={"demo_only": True}).allows_folders


def endpoints(workspace: Workspace, demo: Project) -> set[str]:
    return {str(event.api_name) for event in build_app(workspace, demo).fns.values()}


def test_the_interface_has_no_endpoint_for_what_is_refused(settings: Settings, handlers: Handlers, demo: Project):
    usual, alone = endpoints(Workspace(settings), demo), endpoints(handlers.workspace, demo)
    gone = {"add_model", "check_model", "open_preset", "add_data", "add_statistics", "push", "open_recipe"}
    assert gone <= usual and not gone & alone
    assert {"post", "run", "make_zip", "pairs", "try_it"} <= alone


def test_a_server_of_the_demo_alone_refuses_uploads_and_hides_what_is_not_there(demo: Project, tmp_path: Path):
    with HostedServer(tmp_path, FUSION_UI_DEMO_ONLY="true") as server:
        boundary = uuid.uuid4().hex
        body = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.json"\r\n\r\n{{}}\r\n'
        body += f"--{boundary}--\r\n"
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        for path in (
            "/gradio_api/upload",
            "/gradio_api/upload/",
            "/gradio_api/upload?upload_id=x",
            "//gradio_api/upload",
        ):
            status, text = server.send(Request(server.address + path, body.encode(), kind))
            assert status in (403, 404, 405), (path, status, text)
        components = {c["props"].get("elem_id"): c["props"] for c in json.loads(server.get("/config")[1])["components"]}
        assert components["hub"]["visible"] is False and components["open-recipe"]["visible"] is False
        link = "eyJ2ZXJzaW9uIjoxLCJwcm9qZWN0IjoiZGlzdGlsYmVydC1zZW50aW1lbnQiLCJzZXR0aW5ncyI6e319"
        assert server.call("arrive", "0" * 32, link, None)[0] == 200
        assert server.stop() == 0
