"""Two tiny language models and text without labels, served."""

from __future__ import annotations

import csv
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # as pytest does

from generative_models import tiny_gpt2_writer, write_writer
from tiny_models import random_texts

IMAGE = '<img src=x onerror="window.ran=1">'


def write_split(path: Path, num_texts: int, seed: int) -> Path:
    """A column of texts, and nothing else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text"], *([text + " " + IMAGE] for text in random_texts(num_texts, seed))])
    return path


def main(folder: Path, port: int) -> None:
    """Serve the project until killed."""
    from fusion_ui.projects.project import SPLITS, Project, ProjectDomain, ProjectExpert
    from fusion_ui.settings import Settings
    from fusion_ui.ui.app import build_app
    from fusion_ui.ui.handlers import Handlers
    from fusion_ui.ui.serving import launch
    from fusion_ui.workspace import Workspace

    experts, domains = [], []
    for i, name in enumerate(("novels", "letters")):
        model = write_writer(folder / f"model{i}", tiny_gpt2_writer(i))
        experts.append(ProjectExpert(name, name.capitalize(), model, name))
        paths = {split: write_split(folder / name / f"{split}.csv", 20, i + 10 * k) for k, split in enumerate(SPLITS)}
        domains.append(ProjectDomain(name, name.capitalize(), **paths, label_column=None))
    project = Project("writers", "Writers", None, None, tuple(experts), tuple(domains))
    handlers = Handlers(Workspace(Settings(cache_dir=folder / "cache")), project)
    launch(build_app(handlers.workspace, project, handlers), "127.0.0.1", port, handlers)
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
