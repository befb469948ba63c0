"""From what a person calls a model to a checkpoint on this machine: a directory, a hub model, an adapter."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from fusion_ui.checkpoints.adapters import fold_adapter, is_adapter, read_adapter_config
from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.folding import SECONDS, merge_in_child
from fusion_ui.checkpoints.limits import check_untrusted
from fusion_ui.checkpoints.trial import try_in_child
from fusion_ui.child import ChildLimits
from fusion_ui.errors import CheckpointError
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.sources.hub import download_model, is_repository_id
from fusion_ui.sources.local import is_directory


def find_checkpoint(
    name: str,
    model: str,
    settings: Settings,
    revision: str | None = None,
    base: str | None = None,
    token: str | None = None,
    progress: Progress | None = None,
    *,
    trusts_paths: bool = True,
    folded: Path | None = None,
) -> Checkpoint:
    """A local directory, or a hub model downloaded or found in the cache; an adapter is folded into its base.

    Args:
        model: a directory, or ``owner/name``, with ``@revision`` where `revision` is not given.
        base: what an adapter is folded into; None takes the base that the adapter names.
        token: the visitor's own, for a gated or private model; used for this call alone.
        trusts_paths: an adapter in a directory may name its base by a path. False for what a stranger brought, which
            is also folded in a process of its own.
        folded: where a folded adapter goes; None: the cache.

    Raises:
        CheckpointError: it is neither a directory nor of the form ``owner/name``, or an adapter does not fit.
        SourceUnavailableError: the hub does not have it or cannot be reached.
    """
    found = _locate(name, model, revision, token, progress)
    if not is_adapter(found.directory):
        return found
    config, is_given = read_adapter_config(found.directory), base is not None
    base = base or str(config.get("base_model_name_or_path") or "")
    if not base:
        raise CheckpointError(f"The adapter {name} does not say which base model it changes. Set 'base' in the recipe.")
    if not is_repository_id(base.partition("@")[0]) and not (is_given or (trusts_paths and found.revision is None)):
        raise CheckpointError(
            f"The adapter {name} names {base[:80]!r} as its base, which is not the owner/name of a hub model. "
            "Merge it into its base before, and bring the whole model."
        )
    try:
        # A stranger's word is never taken for a folder of this machine, even if one has that name.
        take = _locate if trusts_paths or is_given else _download
        whole = take(f"{name}'s base", base, None, token, progress)
    except CheckpointError as error:
        raise CheckpointError(f"{error} The adapter {name} needs it: set 'base' in the recipe.") from None
    if is_adapter(whole.directory):
        raise CheckpointError(f"The base of the adapter {name} is an adapter itself. Set 'base' to a whole model.")
    merge = None
    if not trusts_paths:
        try_in_child(whole.directory, name=whole.name, progress=progress)
        limits = ChildLimits(SECONDS, settings.max_worker_bytes, file_bytes=settings.max_model_bytes)
        merge = partial(merge_in_child, limits=limits, progress=progress or Progress())
    pinned = f"{whole.source}@{whole.revision}" if whole.revision else None
    directory = fold_adapter(found.directory, whole, folded or settings.adapters_dir, merge)
    return replace(found, directory=directory, base=pinned)


def _locate(name: str, model: str, revision: str | None, token: str | None, progress: Progress | None) -> Checkpoint:
    if is_directory(model):
        return Checkpoint(name, Path(model), model)
    return _download(name, model, revision, token, progress)


def _download(name: str, model: str, revision: str | None, token: str | None, progress: Progress | None) -> Checkpoint:
    repository, _, pinned = model.partition("@")
    if not is_repository_id(repository):
        raise CheckpointError(
            f"The model {name} was not found: {model[:200]} is neither a directory nor the owner/name of a hub model."
        )
    directory, commit = download_model(repository, revision or pinned or None, token, progress)
    check_untrusted(directory, allow_links=True, name=name)
    return Checkpoint(name, directory, repository, commit)
