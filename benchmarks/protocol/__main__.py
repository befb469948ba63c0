"""The paper's protocol (Jin et al., ICLR 2023): every experiment prints its table and writes its figure and recipes.

    python -m benchmarks.protocol                 all of it on the demo, about half an hour on two idle cores
    python -m benchmarks.protocol growth          one experiment
    python -m benchmarks.protocol --estimate      how long it would take here, from a few seconds of trying
    python -m benchmarks.protocol --quick         made-up text and a tiny model, in about a minute

Trained models, statistics, answers and finished rows are kept in the cache, so a run that was killed goes on where it
was. ``results.md`` holds the tables of all experiments that were run. All of it on the demo also writes its main tables
into the README, between two markers.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pandas as pd
import torch

from benchmarks.protocol import all_experts, calibration, growth, heads, multitask, non_iid, pairwise
from benchmarks.protocol.estimate import describe_estimate, estimate_minutes
from benchmarks.protocol.readme import check_markers, describe_differences, render_part, write_part
from benchmarks.protocol.section import write_section
from benchmarks.protocol.settings import FULL, QUICK
from benchmarks.protocol.study import Study, open_study
from benchmarks.protocol.tiny import VERSION, prepare_tiny
from fusion_ui.cli.terminal import clear_line, terminal_progress
from fusion_ui.settings import read_settings
from fusion_ui.sources.files import replace_file
from fusion_ui.workspace import Workspace

EXPERIMENTS = {
    "all_experts": all_experts.run,
    "multitask": multitask.run,
    "heads": heads.run,
    "non_iid": non_iid.run,
    "pairwise": pairwise.run,
    "growth": growth.run,
    "calibration": calibration.run,
}
"""In the order in which they are run and written."""
MINUTES = "minutes"
HERE = Path(__file__).resolve().parent
README = HERE.parent.parent / "README.md"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="EXPERIMENT", help=f"any of {', '.join(EXPERIMENTS)}; else all")
    parser.add_argument("--quick", action="store_true", help="made-up text and a tiny model")
    parser.add_argument("--estimate", action="store_true", help="say how long all of it takes, and stop")
    parser.add_argument("--out", type=Path, help="directory for results.md and results/")
    parser.add_argument("--readme", type=Path, help="file whose marked part is written by a run of all of it")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in EXPERIMENTS]:
        parser.error(f"there is no experiment {unknown[0]!r}; choose from {', '.join(EXPERIMENTS)}")
    workspace, progress = Workspace(read_settings()), terminal_progress()
    quick_folder = workspace.settings.cache_dir / "protocol-quick"
    project = (
        prepare_tiny(quick_folder / f"project-{VERSION}", progress)
        if options.quick
        else workspace.prepare_demo(progress)
    )
    out = options.out or (quick_folder if options.quick else HERE)
    study = open_study(workspace, project, QUICK if options.quick else FULL, out, progress)
    readme = None if options.names else options.readme or (README if out == HERE else None)
    if readme:
        check_markers(readme)  # now, and not when half an hour is over
    say(describe_estimate(estimate_minutes(study)) + " What is finished already is not done again.")
    if options.estimate:
        return
    run(study, options.names or list(EXPERIMENTS))
    if readme:
        write_part(readme, render_part(study))
        say(f"{readme} has the main tables.")


def run(study: Study, names: Sequence[str]) -> None:
    """Run experiments one after the other; each leaves its tables and figures when it ends."""
    started = time.perf_counter()
    for name in [name for name in EXPERIMENTS if name in names]:
        begun = time.perf_counter()
        section = EXPERIMENTS[name](study)
        minutes = (time.perf_counter() - begun) / 60
        study.keep(f"{MINUTES}-{name}", lambda minutes=minutes: pd.DataFrame([{MINUTES: minutes}]))
        write_section(section, name, study.out)
        write_results(study)
        clear_line()
        print(f"\n{section.render()}", flush=True)
        say(f"{name} is done, {(time.perf_counter() - started) / 60:.1f} minutes since the start.")
    say(f"{study.out / 'results.md'} holds the tables, {study.out / 'results'} figures and recipes.")


def write_results(study: Study) -> None:
    """Put the tables of all experiments that were run together."""
    folder, how = study.out / "results", study.settings
    parts = [path.read_text(encoding="utf-8") for name in EXPERIMENTS if (path := folder / f"{name}.md").is_file()]
    head = (
        f"Written by `python -m benchmarks.protocol` on {date.today().isoformat()}, project {study.project.title!r}. "
        f"Experts of the sets are trained on {how.num_train} sentences each, {how.training.num_epochs} times over; "
        f"statistics are measured on {how.num_calibration} sentences a domain. {torch.get_num_threads()} threads."
    )
    kept = {name: study.find(f"{MINUTES}-{name}") for name in EXPERIMENTS}
    took = {name: float(found[MINUTES].iloc[0]) for name, found in kept.items() if found is not None}
    each = ", ".join(f"{name} {minutes:.1f}" for name, minutes in took.items())
    head += (
        f" Minutes when each was run first: {each}; {sum(took.values()):.1f} in all. An experiment takes what those "
        "before it trained, and a run that was killed is not counted."
    )
    differences = "Made-up text and a tiny model: this shows that it runs, and nothing else."
    if how != QUICK:
        differences = describe_differences(how)
    with replace_file(study.out / "results.md") as temporary:
        temporary.write_text("\n".join([f"{head}\n", f"{differences}\n", *parts]), encoding="utf-8")


def say(sentence: str) -> None:
    """To the person at the terminal, apart from the tables."""
    clear_line()
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
