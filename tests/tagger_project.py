"""A project of tiny models that tag words, served for a browser."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path

from tests.tiny_taggers import make_sentences, tags_of, write_sentences, write_tagger

KINDS = {"places": ("per", "loc"), "firms": ("org", "per")}


def main(folder: Path, port: int) -> None:
    """Serve the project until killed; beside it lies what a person could bring, `new` and `new.conll`."""
    from fusion_ui.checkpoints.checkpoint import Checkpoint
    from fusion_ui.domains.loaders import load_domain
    from fusion_ui.projects.building import add_domain, add_expert, blank_project
    from fusion_ui.settings import Settings
    from fusion_ui.ui.app import build_app
    from fusion_ui.ui.handlers import Handlers
    from fusion_ui.ui.serving import launch
    from fusion_ui.workspace import Workspace

    base = write_tagger(folder / "base", tags_of("per", "loc"), seed=5)
    project = replace(blank_project(), name="taggers", title="Names of two kinds", heads="union")
    for seed, (name, kinds) in enumerate(KINDS.items()):
        model = write_tagger(folder / name, tags_of(*kinds), make_sentences(320, kinds, seed), start=base)
        project, _ = add_expert(project, name, Checkpoint(name, model, str(model)))
        text = load_domain(write_sentences(folder / f"{name}.jsonl", make_sentences(200, kinds, 9 + seed)), name)
        project, _ = add_domain(project, name, text, folder / "domains")
    write_tagger(folder / "new", ("O", "B-LOC", "I-LOC", "I-PER"), start=base)
    write_sentences(folder / "new.conll", make_sentences(60, ("loc",), 20))
    handlers = Handlers(Workspace(Settings(cache_dir=folder / "cache")), project)
    launch(build_app(handlers.workspace, project, handlers), "127.0.0.1", port, handlers)
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
