"""Kills at random moments of what writes to the disk, and of the server: is everything as it was?

    python -m benchmarks.faults [KILLS] [SERVER_KILLS] [CHILD_KILLS] [SEED]

First the work itself, killed in download, statistics, merge, export and history in turn; then a server that measures,
merges, packs and remembers for a visitor; then the children of a live server, at trying a model and at downloading
data, and a server that downloads a model, each CHILD_KILLS times.
"""

from __future__ import annotations

import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(kills: int = 50, server_kills: int = 50, child_kills: int = 10, seed: int = 0) -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    faults, served = import_module("test_faults"), import_module("served")
    children = import_module("killed_children")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = faults.kill_work(Path(folder) / "work", kills, seed)
        seconds = time.monotonic() - began
        print(f"Work killed: {found['killed']}. Broken: {found['problems'] or 'nothing'}. {seconds:.0f} s.", flush=True)
        try:
            faults.kill_server(Path(folder) / "server", server_kills, seed, served.ForkedServer)
        except AssertionError as error:
            found["problems"].append(f"after a kill of the server: {error}")
        else:
            print(f"Server killed {server_kills} times: the same numbers, bytes and history, no leftovers.")
        try:
            number = children.kill_children(Path(folder) / "children", child_kills, seed)
        except AssertionError as error:
            found["problems"].append(f"after a kill of a child: {error}")
        else:
            print(f"Children and downloads killed {number} times: each told in a sentence, and done again.")
    print(f"{time.monotonic() - began:.0f} s in all.")
    if found["problems"]:
        raise SystemExit("MISSED: " + "; ".join(found["problems"]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
