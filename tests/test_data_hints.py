"""What is looked at of data before it is added, without a browser."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest
from tiny_project import write_project

from fusion_ui.settings import Settings
from fusion_ui.ui.app import build_app
from fusion_ui.ui.bringing import Bringing
from fusion_ui.ui.handlers import Handlers
from fusion_ui.workspace import Workspace


def test_no_summary_starts_after_a_preview_that_was_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    handlers = Handlers(Workspace(Settings(cache_dir=tmp_path / "cache")), write_project(tmp_path))
    app = build_app(handlers.workspace, handlers.project, handlers)
    named = {function.name: function.fn for function in app.fns.values() if function.fn is not None}
    preview, summarise = named["preview"], named["summarise"]
    visitor, path = gr.Request(session_hash="me"), tmp_path / "a.csv"
    path.write_bytes(b"\x80\x04 no table")
    *_, (table, text, pair, label, said) = preview(visitor, str(path))
    assert said["error"] and table == {} and text["value"] is None
    asked: list[object] = []
    monkeypatch.setattr(Bringing, "summarise", lambda *values: asked.append(values) or iter(()))
    place = [str(path), "", None, None, ""]
    assert list(summarise(visitor, *place, text["value"], pair["value"], label["value"])) == [{}]
    assert asked == []
    list(summarise(visitor, *place, "text", "", "label"))  # and after one that was not
    assert len(asked) == 1
