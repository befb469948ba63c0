"""A merge on disk: weights, config, tokenizer, recipe, merge report and a model card."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from fusion_ui.checkpoints.checkpoint import GENERATION_FILE, TOKENIZER_FILES
from fusion_ui.checkpoints.tensors import SINGLE_FILE, TensorHeader, TensorReader, write_tensors
from fusion_ui.errors import MergeError
from fusion_ui.merging.finiteness import is_finite
from fusion_ui.merging.labels import Heads
from fusion_ui.merging.merge import MergedModel, merge_each
from fusion_ui.merging.pinning import pinned_recipe
from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.slots import SlotSource
from fusion_ui.progress import Progress
from fusion_ui.sources.files import replace_directory, write_json


def check_destination(out: Path) -> None:
    """Raise `MergeError` unless `out` is free to be written."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MergeError(f"{out} exists already and is not an empty directory. Choose another one, or remove it.")


def export_merge(
    plan: MergePlan, source: SlotSource, out: Path, card: str, progress: Progress | None = None
) -> MergedModel:
    """Merge into the new directory `out`, whole or not at all, in the first expert's dtypes, beside its model `card`.

    Every tensor is written as soon as it is merged, so memory holds one parameter of every expert and no model. Where
    the experts keep heads of their own, `out` holds a directory for each: the merged encoder under that head.

    Raises:
        MergeError: `out` holds something already, or an expert or the merge has entries that are not finite numbers.
    """
    check_destination(out)
    first, started = plan.experts[0], time.perf_counter()
    own = own_directories(plan)
    with replace_directory(out.resolve()) as folder:
        target = folder / own[0] if own else folder
        target.mkdir(exist_ok=True)
        headers = {name: _header(plan, name) for name in first.tensors.names}
        with write_tensors(target / SINGLE_FILE, headers) as write:

            def store(name: str, tensor: Tensor) -> None:
                stored = tensor.to(headers[name].dtype)
                if stored.dtype.itemsize < tensor.dtype.itemsize and not is_finite(stored):
                    raise MergeError(
                        f"Merging {name} gave entries too large for {stored.dtype}, the type of {first.name}. "
                        "Save the experts in float32 and merge those."
                    )
                write(name, stored)

            treatments = merge_each(source, plan.method, store, progress, plan.rules, plan.layer_scaling)
            for name in plan.labels.parameters if own else ():
                store(name, first.tensors.read(name))
        _write_around(plan, 0, target)
        for number in range(1, len(own)):
            _write_under_own_head(plan, number, target, folder / own[number])
        merged = MergedModel(TensorReader(target), treatments, time.perf_counter() - started)
        write_json(folder / "recipe.json", pinned_recipe(plan).model_dump(mode="json"))
        write_json(folder / "merge_report.json", merged.describe())
        (folder / "README.md").write_text(card, encoding="utf-8")
    return replace(merged, tensors=TensorReader(out / own[0] if own else out))


def _header(plan: MergePlan, name: str) -> TensorHeader:
    """Type and shape of a merged tensor: the first expert's, but with a row for every label of a union head."""
    header = plan.experts[0].tensors.header(name)
    is_union = plan.labels.heads is Heads.UNION and name in plan.labels.parameters
    return TensorHeader(header.dtype, (len(plan.labels.names), *header.shape[1:])) if is_union else header


def own_directories(plan: MergePlan) -> list[str]:
    """A directory name for each expert where heads are kept apart; none where there is one head."""
    if plan.labels.heads is not Heads.OWN:
        return []
    names = [re.sub(r"[^\w.-]+", "-", expert.name).strip(".-") for expert in plan.experts]
    return [name if name and names.count(name) == 1 else f"expert-{i + 1}" for i, name in enumerate(names)]


def _write_under_own_head(plan: MergePlan, number: int, encoder: Path, out: Path) -> None:
    """The merged encoder as it lies in `encoder`, under the head of another expert."""
    out.mkdir()
    expert, merged = plan.experts[number], TensorReader(encoder)
    own = {name: expert.tensors.header(name) for name in plan.labels.parameters}
    with write_tensors(out / SINGLE_FILE, {name: merged.header(name) for name in merged.names} | own) as write:
        for name in merged.names:
            write(name, expert.tensors.read(name) if name in own else merged.read(name))
    _write_around(plan, number, out)


def _write_around(plan: MergePlan, number: int, folder: Path) -> None:
    """Config with the labels' names, and tokenizer, of an expert."""
    expert = plan.experts[number]
    names = plan.labels.names or plan.label_names[number]
    config = {key: value for key, value in expert.config.items() if key not in ("_name_or_path", "num_labels")}
    if names:
        config["id2label"] = {str(i): label for i, label in enumerate(names)}
        config["label2id"] = {label: i for i, label in enumerate(names)}
    write_json(folder / "config.json", config)
    for name in (*TOKENIZER_FILES, GENERATION_FILE):
        if (expert.directory / name).is_file():
            shutil.copyfile(expert.directory / name, folder / name)
