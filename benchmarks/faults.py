"""Kills at random moments of what writes to the disk, and of the server: is everything as it was?

    python -m benchmarks.faults [KILLS] [SERVER_KILLS] [SEED]

First the work itself, killed in download, statistics, merge, export and history in turn; then a server that measures,
merges, packs and remembers for a visitor. Fifty and fifty take about ten minutes on two cores.
"""

from __future__ import annotations

import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(kills: int = 50, server_kills: int = 50, seed: int = 0) -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    faults, served = import_module("test_faults"), import_module("served")
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
    print(f"{time.monotonic() - began:.0f} s in all.")
    if found["problems"]:
        raise SystemExit("MISSED: " + "; ".join(found["problems"]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
