"""Run the benchmarks one after the other, each in a process of its own so that none warms up another."""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    "alpha",
    "many_alphas",
    "statistics_pass",
    "large_merge",
    "page",
    "accuracy",
    "peers",
    "try_it",
    "panels",
    "sweep",
    "faults",
    "stopping",
    "load",
)


def main() -> None:
    for name in sys.argv[1:] or NAMES:
        if name not in NAMES:
            raise SystemExit(f"There is no benchmark {name!r}. Choose from: {', '.join(NAMES)}.")
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
