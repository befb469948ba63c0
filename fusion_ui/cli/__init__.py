"""The console script ``fusion-ui``: headless all that the page does, over the same `Workspace`."""

from fusion_ui.cli import (  # each registers its commands
    evaluating,
    examining,
    experimenting,
    flipping,
    inspecting,
    merging,
    picturing,
    projects,
    remembering,
    reporting,
    sweeping,
    taking,
    training,
    trying,
)
from fusion_ui.cli.application import main

__all__ = [
    "evaluating",
    "examining",
    "experimenting",
    "flipping",
    "inspecting",
    "main",
    "merging",
    "picturing",
    "projects",
    "remembering",
    "reporting",
    "sweeping",
    "taking",
    "training",
    "trying",
]
