"""An exported merge packed as one zip, or put on the hub; nothing of it stays behind here."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fusion_ui.errors import MergeError
from fusion_ui.merging.export import own_directories
from fusion_ui.merging.pinning import portable_recipe
from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.preflight import format_bytes
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.progress import Progress
from fusion_ui.sources.archive import free_bytes, zip_directory
from fusion_ui.sources.files import write_json
from fusion_ui.sources.hub_publish import publish
from fusion_ui.takeaway.exporting import Scoring, take_away
from fusion_ui.workspace import Workspace

SPARE_BYTES = 64 << 20
"""Left free on the disk of somebody who is alone on it."""


def pack(
    workspace: Workspace, plan: MergePlan, out: Path, scoring: Scoring, folder: Path, progress: Progress | None = None
) -> None:
    """Write the exported merge as the zip `out`, whole or not at all.

    Args:
        folder: where there is room to export it first.

    Raises:
        MergeError: it is larger than the limit, or the disk has no room for it.
    """
    progress = progress or Progress()
    with _exported(workspace, plan, scoring, folder, progress.part(0, 0.9), copies=2) as exported:
        if not workspace.settings.allows_folders:  # paths of this machine are no visitor's business
            write_json(exported / "recipe.json", _without_paths(exported))
        zip_directory(exported, out, progress.part(0.9, 1))


def push(
    workspace: Workspace,
    plan: MergePlan,
    repository: str,
    token: str,
    *,
    is_private: bool,
    scoring: Scoring,
    folder: Path,
    progress: Progress | None = None,
) -> str:
    """Export a merge and put it on the hub; the address of its page.

    Args:
        folder: where there is room to export it first.
    """
    progress = progress or Progress()
    with _exported(workspace, plan, scoring, folder, progress.part(0, 0.6), copies=1) as exported:
        return push_folder(exported, repository, token, is_private=is_private, progress=progress.part(0.6, 1))


def push_folder(
    folder: Path, repository: str, token: str, *, is_private: bool, progress: Progress | None = None
) -> str:
    """Put an exported merge on the hub under the account that `token` belongs to; the address of its page.

    Its recipe is pushed without any path of this machine.

    Raises:
        MergeError: the folder is no exported merge.
        SourceError, SourceUnavailableError: the hub refuses, or cannot be reached.
    """
    if not (folder / "recipe.json").is_file() or not (folder / "README.md").is_file():
        raise MergeError(
            f"{folder} is no merge: it has no recipe.json or no README.md. Name a folder that merge wrote."
        )
    text = json.dumps(_without_paths(folder), indent=2, ensure_ascii=False) + "\n"
    replaced = {"recipe.json": text.encode()}
    return publish(folder, repository, token, is_private=is_private, replaced=replaced, progress=progress or Progress())


def _without_paths(folder: Path) -> dict[str, Any]:
    """The recipe of an exported merge for others, as JSON values."""
    recipe = parse_recipe(json.loads((folder / "recipe.json").read_text(encoding="utf-8")))
    return portable_recipe(recipe).model_dump(mode="json")


@contextmanager
def _exported(
    workspace: Workspace, plan: MergePlan, scoring: Scoring, folder: Path, progress: Progress, copies: int
) -> Iterator[Path]:
    """The exported merge in `folder`, for as long as the block lasts; `copies` of it must find room."""
    _check_room(workspace, plan, folder, copies)
    folder.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(dir=folder, prefix=".export."))
    try:
        take_away(workspace, plan, target / "merge", scoring, progress)
        yield target / "merge"
    except OSError as error:  # most of all a disk that filled up meanwhile
        reason = error.strerror or type(error).__name__
        raise MergeError(f"The merge could not be written here ({reason}). Free some disk, or try again.") from None
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _check_room(workspace: Workspace, plan: MergePlan, folder: Path, copies: int) -> None:
    size = sum(file.stat().st_size for file in plan.experts[0].tensors.files) * max(1, len(own_directories(plan)))
    settings = workspace.settings
    spare = SPARE_BYTES if settings.allows_folders else settings.min_free_bytes
    most, free = settings.max_export_bytes, free_bytes(folder) - spare
    if size > most:
        raise MergeError(
            f"The merged model takes {format_bytes(size)}, and {format_bytes(most)} is the most that is handed out "
            "here. Take its recipe, and merge with the command line: fusion-ui merge recipe.json --out DIR."
        )
    if copies * size > free:
        raise MergeError(
            f"The merged model needs {format_bytes(copies * size)} of disk, and {format_bytes(max(0, free))} are free. "
            "Free some, or take its recipe and merge elsewhere."
        )
