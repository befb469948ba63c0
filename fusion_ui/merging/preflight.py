"""Before anything large is read: can this be merged, what will it cost, and does this machine have it?"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fusion_ui.checkpoints.adapters import adapter_bytes, is_adapter, read_adapter_config
from fusion_ui.checkpoints.checkpoint import Checkpoint, labels_of
from fusion_ui.checkpoints.compatibility import ModelHeader, find_problems, read_header
from fusion_ui.checkpoints.heads import output_parameters
from fusion_ui.checkpoints.similarity import find_strangers
from fusion_ui.errors import CheckpointError, FusionError
from fusion_ui.merging.labels import align_labels, check_tasks, name_outputs
from fusion_ui.merging.recipe import Expert, MergeRecipe
from fusion_ui.merging.rules import check_matches
from fusion_ui.settings import Settings
from fusion_ui.sources.hub import describe_model, find_cached_model, is_repository_id
from fusion_ui.sources.local import is_directory
from fusion_ui.statistics.statistic import StatisticKind
from fusion_ui.tasks import find_task

TOKENS_PER_TEXT = 64
"""Assumed length of a calibration text, for the estimate of time."""
PROCESS_BYTES = 900 << 20
"""Python with torch and transformers, before any model."""


@dataclass(frozen=True)
class Machine:
    """What this machine has left.

    Attributes:
        memory_bytes: memory that can still be had.
        disk_bytes: free on the cache's disk.
        flops: float32 multiply-adds a second, times two, of one large matrix product.
    """

    memory_bytes: int
    disk_bytes: int
    flops: float


@dataclass(frozen=True)
class Preflight:
    """The answer, and the numbers behind it.

    Attributes:
        models: every model's header; a model that could not be described is missing here and named in `problems`.
        problems: why this cannot be merged here, one sentence each; empty if it can.
        warnings: what should be known before.
        download_bytes, disk_bytes, memory_bytes: what must be fetched, and what is needed in all.
        seconds: rough time of measuring and merging, downloads not included.
    """

    models: tuple[ModelHeader, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    download_bytes: int
    disk_bytes: int
    memory_bytes: int
    seconds: float
    machine: Machine

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        values = {k: getattr(self, k) for k in ("download_bytes", "disk_bytes", "memory_bytes", "seconds")}
        models = [
            {"name": m.name, "architecture": m.architecture, "bytes": m.num_bytes, "download_bytes": m.download_bytes}
            for m in self.models
        ]
        about = {"problems": list(self.problems), "warnings": list(self.warnings), "machine": asdict(self.machine)}
        return {"is_mergeable": not self.problems, **about, **values, "models": models}


def check_recipe(recipe: MergeRecipe, settings: Settings, token: str | None = None) -> Preflight:
    """Read configs and headers of everything a recipe names, here or on the hub, and weigh it against this machine.

    Args:
        token: the visitor's own, for gated and private models.
    """
    headers: list[ModelHeader] = []
    problems: list[str] = []
    for entry in recipe.experts:
        try:
            headers.append(describe_expert(entry, entry.base or recipe.base, token))
        except FusionError as error:
            problems.append(str(error))
    if headers:
        differing = find_problems(headers, output_parameters(headers[0].shapes))
        problems += differing or _find_label_problems(recipe, headers)
        problems += [*_find_obstacles(recipe, headers[0]), *_find_rule_problems(recipe, headers[0])]
    most = settings.max_model_bytes
    problems += [
        f"{header.name} has {format_bytes(header.num_bytes)} of weights, and {format_bytes(most)} is the most here. "
        "Choose a smaller model, or set FUSION_UI_MAX_MODEL_BYTES where the page runs."
        for header in headers
        if header.num_bytes > most
    ]
    found = [_local(entry) for entry in recipe.experts if is_directory(entry.model)]
    local = [checkpoint for checkpoint in found if not is_adapter(checkpoint.directory)]
    warnings = [] if problems or len(local) < 2 else find_strangers(local)
    warnings += [f"{h.name}: {odd}" for h in headers for odd in find_task(h.config).check_labels(labels_of(h.config))]
    machine = measure_machine(settings.cache_dir)
    download = sum(header.download_bytes for header in headers)
    disk, memory, seconds = _estimate(recipe, headers, machine, settings)
    needs = ((download + disk, machine.disk_bytes, "disk"), (memory, machine.memory_bytes, "memory"))
    for needed, there, what in needs:
        if needed > there:
            problems.append(
                f"This needs about {format_bytes(needed)} of {what} and {format_bytes(there)} are free. "
                "Free some, or merge fewer or smaller models."
            )
    return Preflight(tuple(headers), tuple(problems), tuple(warnings), download, disk, memory, seconds, machine)


def _find_obstacles(recipe: MergeRecipe, header: ModelHeader) -> list[str]:
    """What the method, or the step after it, lacks."""
    has_base, layer_scaling = recipe.base is not None, recipe.make_layer_scaling()
    obstacles = [recipe.make_method().find_obstacle(len(recipe.experts), has_base)]
    if layer_scaling:
        obstacles.append(layer_scaling.find_obstacle([*header.shapes], has_base))
    return [obstacle for obstacle in obstacles if obstacle]


def _find_label_problems(recipe: MergeRecipe, headers: Sequence[ModelHeader]) -> list[str]:
    entries = {entry.name: entry for entry in recipe.experts}
    named = [(h.name, [entries[h.name].labels.get(label, label) for label in labels_of(h.config)]) for h in headers]
    try:
        check_tasks(headers, recipe.heads)
        align_labels(name_outputs(headers, named), recipe.heads, output_parameters(headers[0].shapes))
    except FusionError as error:
        return [str(error)]
    return []


def _find_rule_problems(recipe: MergeRecipe, header: ModelHeader) -> list[str]:
    try:
        check_matches(recipe.rules, header.shapes.keys())
    except FusionError as error:
        return [str(error)]
    return []


def describe_expert(entry: Expert, base: str | None = None, token: str | None = None) -> ModelHeader:
    """The header of one expert: from its directory, or from the hub without its weights.

    An adapter has the header of the model it changes, `base` or the one that it names itself.

    Raises:
        FusionError: it cannot be found or read.
    """
    if is_directory(entry.model) or not is_repository_id(entry.model.partition("@")[0]):
        local = _local(entry)
        if not is_adapter(local.directory):
            return read_header(local)
        named, num_bytes, download = read_adapter_config(local.directory), adapter_bytes(local.directory), 0
    else:
        repository, _, revision = entry.model.partition("@")
        remote = describe_model(repository, entry.revision or revision or None, token)
        num_bytes = remote.weight_bytes
        download = 0 if find_cached_model(repository, remote.commit, token) else num_bytes
        if not remote.is_adapter:
            shapes = {name: shape for name, (_, shape) in remote.tensors.items()}
            return ModelHeader(entry.name, remote.config, shapes, num_bytes, download)
        named = remote.adapter_config
    whole = base or str(named.get("base_model_name_or_path") or "")
    if whole in ("", entry.model):
        raise CheckpointError(f"The adapter {entry.name} does not name a whole model as its base. Set 'base'.")
    under = describe_expert(entry.model_copy(update={"model": whole, "revision": None}), None, token)
    return replace(under, num_bytes=under.num_bytes + num_bytes, download_bytes=under.download_bytes + download)


def _local(entry: Expert) -> Checkpoint:
    return Checkpoint(entry.name, Path(entry.model), entry.model)


def describe_needs(found: Preflight) -> str:
    """The numbers in one sentence: what must be fetched, and what the merge then takes of this machine."""
    download = f"{format_bytes(found.download_bytes)} to download; " if found.download_bytes else ""
    free_memory, free_disk = format_bytes(found.machine.memory_bytes), format_bytes(found.machine.disk_bytes)
    disk = format_bytes(found.download_bytes + found.disk_bytes)
    return (
        f"{download}about {format_bytes(found.memory_bytes)} of memory ({free_memory} free), {disk} of disk "
        f"({free_disk} free) and {format_seconds(found.seconds)} to measure and merge."
    )


def measure_machine(directory: Path) -> Machine:
    """Free memory, free disk where `directory` is or will be, and the speed of one matrix product."""
    import psutil
    import torch

    existing = next(folder for folder in (directory, *directory.parents) if folder.is_dir())
    matrix = torch.ones(512, 512)
    torch.mm(matrix, matrix)
    started = time.perf_counter()
    for _ in range(8):
        torch.mm(matrix, matrix)
    flops = 8 * 2 * 512**3 / (time.perf_counter() - started)
    return Machine(psutil.virtual_memory().available, shutil.disk_usage(existing).free, flops)


def format_bytes(count: float) -> str:
    """For people: 1.3 GB, 90 MB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} KB"


def format_seconds(seconds: float) -> str:
    """For people: 20 s, 3 min, 2 h."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, round(seconds))} s"


def _estimate(
    recipe: MergeRecipe, headers: Sequence[ModelHeader], machine: Machine, settings: Settings
) -> tuple[int, int, float]:
    """Bytes of disk and memory, and seconds, that the merge takes beyond the download."""
    if not headers:
        return 0, 0, 0.0
    shapes = headers[0].shapes
    num_parameters = sum(math.prod(shape) for shape in shapes.values())
    matrices = [shape for name, shape in shapes.items() if len(shape) == 2 and "embed" not in name]
    num_experts, method = len(headers), type(recipe.make_method())
    requires, side = method.requires, [shape[1] for shape in matrices]
    disk, memory, flops = 4 * num_parameters, PROCESS_BYTES + 4 * num_parameters, 2.0 * num_experts * num_parameters
    num_tokens = TOKENS_PER_TEXT * recipe.statistics.num_examples
    if StatisticKind.GRAM in requires:
        disk += num_experts * sum(2 * n * n for n in side)  # packed triangles in float32
        # Each of two threads sums in float32, and that into float64.
        memory += sum(2 * 12 * n * n for n in side) + settings.max_cached_merges * 4 * num_parameters
        per_expert = 2.0 * num_tokens * (sum(map(math.prod, matrices)) + sum(n * n for n in side))
        flops += num_experts * per_expert + sum(12.0 * n**3 for n in side)
    if method.needs_text and side:
        # A second copy of the weights, one layer's Grams of every expert, and what the layer before gave.
        memory += 4 * num_parameters + num_experts * (2 * 8 * max(side) ** 2 + 4 * num_tokens * max(side))
        per_expert = 2.0 * num_tokens * (2 * sum(map(math.prod, matrices)) + sum(n * n for n in side))
        flops += num_experts * per_expert + sum(1.0 * n**3 for n in side)
    if StatisticKind.FISHER in requires:
        disk += num_experts * 4 * num_parameters
        memory += 2 * 4 * num_parameters
        flops += num_experts * recipe.statistics.num_examples * (6.0 * TOKENS_PER_TEXT + 20.0) * num_parameters
    return disk, memory, flops / machine.flops
