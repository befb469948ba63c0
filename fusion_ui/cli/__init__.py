"""The console script ``fusion-ui``: headless all that the page does, over the same `Workspace`."""

from fusion_ui.cli import (  # each registers its commands
    evaluating,
    examining,
    inspecting,
    merging,
    projects,
    reporting,
    sweeping,
    taking,
)
from fusion_ui.cli.application import main

__all__ = ["evaluating", "examining", "inspecting", "main", "merging", "projects", "reporting", "sweeping", "taking"]
