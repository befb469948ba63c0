"""``python -m fusion_ui`` is the console script ``fusion-ui``."""

from fusion_ui.cli import main

main()
