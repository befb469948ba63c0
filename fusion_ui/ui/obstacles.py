"""Methods that cannot merge what takes part stand in the list greyed, with the reason."""

from __future__ import annotations

from typing import Any

import gradio as gr

from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.panels.methods import MethodsPanel, method_choices
from fusion_ui.ui.panels.models import ModelsPanel


def wire_obstacles(handlers: Handlers, models: ModelsPanel, methods: MethodsPanel) -> None:
    """The list follows the models that take part: some methods merge two and no more."""

    def follow(request: gr.Request, *included: Any) -> dict[str, Any]:
        project = handlers.sessions.get(request.session_hash).project
        return gr.update(choices=method_choices(project, sum(map(bool, included))))

    ticks = [box.input for box in models.included]
    gr.on(
        ticks, follow, models.included, methods.methods, queue=False, show_progress="hidden", api_visibility="private"
    )
