"""The child processes of this one, which tests look at and kill."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psutil


def children() -> list[psutil.Process]:
    """All that run now."""
    return psutil.Process().children(recursive=True)


def soon(act: Callable[[psutil.Process], None], after: float = 0.0) -> None:
    """Do something to the child process once there is one, and some seconds later where they are given."""

    def work() -> None:
        while not (found := children()):
            time.sleep(0.01)
        time.sleep(after)
        act(found[0])

    threading.Thread(target=work, daemon=True).start()
