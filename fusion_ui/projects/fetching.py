"""A model that a person names or uploads: weighed before anything large is fetched, checked, and tried."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fusion_ui.checkpoints.adapters import is_adapter, read_adapter_config
from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.finding import find_checkpoint
from fusion_ui.checkpoints.limits import check_untrusted
from fusion_ui.checkpoints.trial import try_in_child
from fusion_ui.errors import CheckpointError
from fusion_ui.merging.labels import Heads
from fusion_ui.merging.preflight import Preflight, check_recipe
from fusion_ui.merging.recipe import Expert, MergeRecipe
from fusion_ui.progress import Progress
from fusion_ui.projects.building import blank_project
from fusion_ui.projects.project import Project
from fusion_ui.settings import Settings
from fusion_ui.sources.hub import is_repository_id
from fusion_ui.sources.local import is_directory
from fusion_ui.sources.upload import UploadLimits, receive_upload

METHOD = "regmean"
"""The merge that is weighed: the one that the page begins with."""


def check_addition(project: Project, model: str, settings: Settings, token: str | None = None) -> Preflight:
    """Weigh a project with one more model, from configs and headers alone.

    Labels are left aside: they can be renamed once the model is there.

    Args:
        model: ``owner/name``, with ``@revision`` where it is not the main branch, or a directory.
        token: the visitor's own, for gated and private models.
    """
    present = [Expert(name=e.name, model=str(e.model)) for e in project.experts]
    name = next(name for name in (model[:80], "the new model") if name not in {e.name for e in project.experts})
    experts = (*present, Expert(name=name, model=model))
    return check_recipe(MergeRecipe(method=METHOD, experts=experts, heads=Heads.OWN), settings, token)


def fetch_model(
    project: Project,
    model: str,
    name: str,
    settings: Settings,
    progress: Progress,
    token: str | None = None,
    is_base: bool = False,
    folder: Path | None = None,
) -> Checkpoint:
    """A model of the hub, or of this machine's disk, as an addition to `project`, or as its base.

    Args:
        folder: where an adapter that was folded into its base goes; None: the cache.

    Raises:
        CheckpointError: it does not go with the project's models, or this machine has no room for it; then nothing
            was fetched. Or it is not what it should be.
        SourceError: it cannot be had.
    """
    if not model:
        raise CheckpointError("Name a model on the hub, or choose its files.")
    is_local = is_directory(model)
    if is_local and not settings.allows_folders:
        raise CheckpointError("Folders of this machine can be named only where the page runs for you alone.")
    progress.report(0.0, f"Reading what {model[:80]} is")
    # A base may have another head than the experts, or none; what it lacks is found when it is here.
    if problems := check_addition(blank_project() if is_base else project, model, settings, token).problems:
        raise CheckpointError(" ".join(problems))
    found = find_checkpoint(
        name or model, model, settings, token=token, progress=progress, trusts_paths=is_local, folded=folder
    )
    return _try(found, progress)


def receive_model(
    files: Sequence[str], name: str, folder: Path, settings: Settings, progress: Progress, room: int | None = None
) -> Checkpoint:
    """A model from uploaded files, moved to a new directory in `folder`; nothing is left there after an error.

    Args:
        room: bytes that it may take there at most, beside the limit of any model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(dir=folder)) / ((name and "model") or Path(files[0]).stem[:60])
    try:
        most = settings.max_model_bytes
        limits = UploadLimits(max_bytes=most if room is None else min(most, room))
        receive_upload([Path(file) for file in files], target, limits, progress=progress)
        check_untrusted(target, name=name or "uploaded")
        _weigh_base(target, settings)
        title = name or Path(files[0]).stem
        found = find_checkpoint(
            title, str(target), settings, progress=progress, trusts_paths=False, folded=target.parent
        )
        return _try(found, progress)
    except BaseException:  # a full disk too, and a visitor who leaves
        shutil.rmtree(target.parent, ignore_errors=True)
        raise


def _weigh_base(directory: Path, settings: Settings) -> None:
    """An adapter is small, and what it names as its base may be of any size: weighed before it is fetched."""
    if not is_adapter(directory):
        return
    base = str(read_adapter_config(directory).get("base_model_name_or_path") or "")
    if is_repository_id(base.partition("@")[0]) and (
        problems := check_addition(blank_project(), base, settings).problems
    ):
        raise CheckpointError(" ".join(problems))


def _try(found: Checkpoint, progress: Progress) -> Checkpoint:
    """Load what may be hostile in a child process first, with limits of time and memory."""
    progress.report(0.9, f"Trying {found.name} in a process of its own")
    try_in_child(found.directory, name=found.name, progress=progress)
    return found
