"""A stranger's adapter is folded into its base in a process of its own, with limits of time, memory and disk."""

from __future__ import annotations

from pathlib import Path

from fusion_ui.checkpoints.adapters import merge_adapter
from fusion_ui.child import ChildLimits, answer_parent, run_child
from fusion_ui.errors import CheckpointError
from fusion_ui.progress import Progress

SECONDS = 600.0
"""For loading the base, folding and writing: several times what one of a few GiB takes."""


def merge_in_child(base: Path, adapter: Path, out: Path, limits: ChildLimits, progress: Progress) -> None:
    """`merge_adapter` in a child process.

    Raises:
        CheckpointError: the adapter does not fit its base, or folding it took more than `limits` allow.
        StoppedError: the person stopped it.
    """
    message = f"Folding {adapter.name} into its base in a process of its own"
    ending = run_child(__spec__.name, [str(path) for path in (base, adapter, out)], limits, progress, message)
    if ending.error is not None:
        raise ending.error
    if ending.failure is not None:
        raise CheckpointError(
            f"The adapter {adapter.name} could not be folded into its base: the process {ending.failure}. "
            "Fold it at home with merge_and_unload, and bring the whole model."
        )


def _work(places: list[str], progress: Progress) -> None:
    merge_adapter(*map(Path, places))


if __name__ == "__main__":
    answer_parent(_work)
