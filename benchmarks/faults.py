"""Fifty kills of what writes to the disk, and ten of the server, at random moments: is everything as it was?

python -m benchmarks.faults [KILLS] [SERVER_KILLS] [SEED]
"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(kills: int = 50, server_kills: int = 10, seed: int = 0) -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    faults = import_module("test_faults")

    with tempfile.TemporaryDirectory() as folder:
        found = faults.kill_work(Path(folder) / "work", kills, seed)
        print(f"\nKilled: {found['killed']}. Broken: {found['problems'] or 'nothing'}.")
        faults.kill_server(Path(folder) / "server", server_kills, seed)
        print(f"Server killed {server_kills} times: the same numbers, its history, no leftovers.")
    if found["problems"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
