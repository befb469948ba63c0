"""Launch the page: settings from the environment, the demo prepared, the server started. A Space's `app_file`, too."""

import os

from fusion_ui.settings import is_zero_gpu  # which imports no torch

if is_zero_gpu():
    import spaces  # noqa: F401  # pyright: ignore  before torch, whose CUDA it stands in for

from fusion_ui.cli import main

if __name__ == "__main__":
    if "SPACE_ID" in os.environ:  # where visitors come through the platform's proxy
        os.environ.setdefault("FUSION_UI_HOST", "0.0.0.0")
    main(["serve"])
