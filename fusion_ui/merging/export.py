"""A merge on disk: weights, config, tokenizer, recipe, merge report and a model card."""

from __future__ import annotations

import shutil
from pathlib import Path

from fusion_ui.checkpoints.checkpoint import TOKENIZER_FILES
from fusion_ui.checkpoints.tensors import SINGLE_FILE, write_tensors
from fusion_ui.errors import MergeError
from fusion_ui.merging.merge import MergedModel
from fusion_ui.merging.plan import MergePlan
from fusion_ui.sources.files import replace_directory, write_json

CARD = """---
library_name: transformers
pipeline_tag: text-classification
tags:
- merge
---
# {title} of {names}

Merged from {count} models fine-tuned from one base, without their training data, by Fusion UI.

- Method: {title}. {summary} [{paper}]({paper})
- Formula: `{formula}`
- Parameters: {parameters}
- Experts: {experts}

`recipe.json` repeats the merge: `fusion-ui merge recipe.json --out DIR`. `merge_report.json` says for every
parameter what was done to it.
"""


def check_destination(out: Path) -> None:
    """Raise `MergeError` unless `out` is free to be written."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MergeError(f"{out} exists already and is not an empty directory. Choose another one, or remove it.")


def export_merge(plan: MergePlan, merged: MergedModel, out: Path) -> None:
    """Write the merge to the new directory `out`, whole or not at all, in the experts' own dtype.

    Raises:
        MergeError: `out` holds something already.
    """
    check_destination(out)
    first = plan.experts[0]
    with replace_directory(out.resolve()) as folder:
        tensors = ((name, tensor.to(first.tensors.read(name).dtype)) for name, tensor in merged.tensors.items())
        write_tensors(folder / SINGLE_FILE, tensors)
        config = {key: value for key, value in first.config.items() if key != "_name_or_path"}
        write_json(folder / "config.json", config)
        for name in TOKENIZER_FILES:
            if (first.directory / name).is_file():
                shutil.copyfile(first.directory / name, folder / name)
        write_json(folder / "recipe.json", _pinned_recipe(plan))
        write_json(folder / "merge_report.json", merged.describe())
        (folder / "README.md").write_text(_model_card(plan), encoding="utf-8")


def _pinned_recipe(plan: MergePlan) -> dict:
    """The recipe with every hub revision replaced by the commit it meant."""
    recipe = plan.recipe.model_dump(mode="json")
    for entry, checkpoint in zip(recipe["experts"], plan.experts, strict=True):
        entry["revision"] = checkpoint.revision
    if plan.base is not None and plan.base.revision is not None:
        recipe["base"] = f"{plan.base.source}@{plan.base.revision}"
    return recipe


def _model_card(plan: MergePlan) -> str:
    method = type(plan.method)
    settings = ", ".join(f"{name} = {value}" for name, value in vars(plan.method).items()) or "none"
    weights = plan.recipe.weights
    experts = "; ".join(f"{e.name} (weight {w:.3g})" for e, w in zip(plan.experts, weights, strict=True))
    return CARD.format(
        title=method.title,
        names=", ".join(e.name for e in plan.experts),
        count=len(plan.experts),
        summary=method.summary(),
        paper=method.paper,
        formula=method.formula,
        parameters=settings,
        experts=experts,
    )
