"""The list in which experts are added follows the boxes beside them, once these are there."""

from __future__ import annotations

from pathlib import Path

from tiny_project import write_project

from fusion_ui.settings import Settings
from fusion_ui.ui.experiments import Experimenting
from fusion_ui.ui.handlers import Handlers
from fusion_ui.workspace import Workspace


def test_the_list_follows_the_boxes_and_waits_for_those_that_are_not_drawn_yet(settings: Settings, tmp_path: Path):
    experimenting = Experimenting(Handlers(Workspace(settings), write_project(tmp_path)))
    order = ["d2", "d0", "d1"]
    assert experimenting.order_of("v", [True, False, True], order)["names"] == ["d2", "d0"]
    assert experimenting.order_of("v", [True, True, True], ["d2"])["names"] == ["d2", "d0", "d1"]
    shown = experimenting.order_of("v", [True, True, True], order)
    assert experimenting.order_of("v", [True, False, True], shown)["names"] == ["d2", "d0"], (
        "what the page itself sends"
    )
    for boxes in ([None, None, None], [True, None, True]):
        assert "names" not in experimenting.order_of("v", boxes, order), "the list was emptied by a page half drawn"
