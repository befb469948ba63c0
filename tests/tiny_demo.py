"""A project of tiny models, served as on a machine for strangers: merged and evaluated in a moment."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))


def main(folder: Path, port: int) -> None:
    """Serve it until killed. Every start makes the same models and texts again; the cache stays."""
    from tiny_project import write_project

    from fusion_ui.settings import Settings
    from fusion_ui.ui.app import build_app
    from fusion_ui.ui.handlers import Handlers
    from fusion_ui.ui.serving import launch
    from fusion_ui.workspace import Workspace

    shutil.rmtree(folder / "project", ignore_errors=True)
    (folder / "project").mkdir(parents=True)
    settings = Settings(cache_dir=folder / "cache", host="0.0.0.0", num_threads=1)
    handlers = Handlers(Workspace(settings), write_project(folder / "project"))
    app = build_app(handlers.workspace, handlers.project, handlers)
    launch(app, "127.0.0.1", port, handlers)  # reached from here alone, whatever the settings say
    app.block_thread()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
