"""A project of tiny models, served, in which every name, label and sentence tries to run as code in a browser."""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

from tests.tiny_models import random_texts, tiny_bert, write_model

IMAGE, DOLLAR, BRACES = '<img src=x onerror="window.ran=1">', "${window.ran=2}", "{{window.ran=3}}"
LABELS = (f"bad {IMAGE}", f"good {DOLLAR}")
NAMES = (f"one {IMAGE}", f"two {DOLLAR} {BRACES}")
NUM_REPORTED = 400


def write_split(path: Path, num_texts: int, seed: int) -> Path:
    """Pairs of sentences with random labels."""
    generator = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "pair", "label"])
        for text in random_texts(num_texts, seed):
            rows.writerow([f"{text} {IMAGE} {DOLLAR} {BRACES}", f"second {IMAGE}", generator.choice(LABELS)])
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
    for i, name in enumerate(NAMES):
        model = write_model(folder / f"model{i}", tiny_bert(i, labels=LABELS))
        experts.append(ProjectExpert(name, name, model, name))
        sizes = {split: NUM_REPORTED if split == "report" else 10 for split in SPLITS}
        paths = {s: write_split(folder / f"domain{i}" / f"{s}.csv", n, i + n) for s, n in sizes.items()}
        domains.append(ProjectDomain(name, name, **paths, pair_column="pair"))
    project = Project("hostile", f"Hostile {IMAGE}", None, None, tuple(experts), tuple(domains))
    handlers = Handlers(Workspace(Settings(cache_dir=folder / "cache")), project)
    app = build_app(handlers.workspace, project, handlers)
    launch(app, "127.0.0.1", port, handlers)
    app.block_thread()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
