"""Small trained models of several tasks, served: pairs, a number and several labels under heads of their own, or T5."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # as pytest does

from generative_models import tiny_t5, train, write_writer
from glue_experts import write_rows
from test_sequence_to_sequence import WORDS, make_rows, write_csv
from tiny_models import tiny_bert
from trained_tasks import NUM_REPORTED, TRAINED, make_task_rows, train_expert

HEADS, WRITTEN = ("qqp", "stsb", "feelings"), "written"
SIZES = {"train": 20, "calibrate": 40, "select": 30, "report": NUM_REPORTED}


def main(folder: Path, port: int) -> None:
    """Serve, until killed, what the folder that holds `folder` is called after."""
    from fusion_ui.projects.project import Project, ProjectDomain, ProjectExpert
    from fusion_ui.settings import Settings
    from fusion_ui.ui.app import build_app
    from fusion_ui.ui.handlers import Handlers
    from fusion_ui.ui.serving import launch
    from fusion_ui.workspace import Workspace

    experts, domains, is_written = [], [], folder.parent.name == WRITTEN
    base = tiny_t5(3, d_model=32, d_kv=16, d_ff=64) if is_written else tiny_bert(0)
    for i, name in enumerate(WORDS if is_written else HEADS):
        (folder / name).mkdir(parents=True)
        paths = {split: folder / name / f"{split}.csv" for split in SIZES}
        for seed, (split, size) in zip((0, 1, 3, 2), SIZES.items(), strict=True):
            if is_written:
                write_csv(paths[split], *make_rows(name, size, 10 + seed))
                continue
            rows = make_task_rows(TRAINED[name], "books", size, seed=seed)
            write_rows(paths[split], [(first, second, label or "[]") for first, second, label in rows])
        if is_written:
            expert = tiny_t5(3, d_model=32, d_kv=16, d_ff=64)
            expert.load_state_dict(base.state_dict())
            model = write_writer(folder / f"{name}-model", train(expert, *make_rows(name, 300, 2), 100, i), ends=True)
        else:
            model = train_expert(folder / f"{name}-model", TRAINED[name], 0, base.state_dict())
        experts.append(ProjectExpert(name, name.capitalize(), model, name))
        pair = None if is_written or not TRAINED[name].counts else "pair"
        metric = None if is_written else TRAINED[name].metric
        train_file, calibrate, select, report = (paths[split] for split in SIZES)
        domains.append(
            ProjectDomain(
                name, name.capitalize(), train_file, calibrate, select, report, pair_column=pair, metric=metric
            )
        )
    heads = None if is_written else "own"
    project = Project("tasks", "Tasks", None, None, tuple(experts), tuple(domains), heads)
    handlers = Handlers(Workspace(Settings(cache_dir=folder / "cache")), project)
    launch(build_app(handlers.workspace, project, handlers), "127.0.0.1", port, handlers)
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
