"""The console script ``fusion-ui``: headless all that the page does, over the same `Workspace`."""

from fusion_ui.cli import evaluating, inspecting, merging, projects  # each registers its commands
from fusion_ui.cli.application import main

__all__ = ["evaluating", "inspecting", "main", "merging", "projects"]
