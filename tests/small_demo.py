"""The demo with fewer sentences: the same real models and text, quick enough to be driven by a browser many times."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

from fusion_ui.projects.project import Project
from fusion_ui.settings import read_settings
from fusion_ui.sources.storage import ensure_temporary_directory
from fusion_ui.workspace import Workspace

SIZES = {"train": 8, "calibrate": 64, "select": 12, "report": 30}


def shrink(project: Project, folder: Path) -> Project:
    """The project with every split cut to its first sentences, written into `folder`."""
    domains = []
    for domain in project.domains:
        paths = {}
        for split, size in SIZES.items():
            paths[split] = folder / domain.name / f"{split}.csv"
            paths[split].parent.mkdir(parents=True, exist_ok=True)
            pd.read_csv(getattr(domain, split), keep_default_na=False).head(size).to_csv(paths[split], index=False)
        domains.append(replace(domain, **paths))
    return replace(project, domains=tuple(domains))


def main(folder: Path, port: int) -> None:
    """Serve the small demo until asked to end."""
    settings = read_settings().model_copy(update={"port": port})
    ensure_temporary_directory(settings.cache_dir / "tmp")
    from fusion_ui.ui.serving import serve_project

    workspace = Workspace(settings)
    serve_project(workspace, shrink(workspace.prepare_demo(), folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
