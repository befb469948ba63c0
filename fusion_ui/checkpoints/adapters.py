"""PEFT adapters become plain checkpoints: the low-rank update is folded into the base weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fusion_ui.checkpoints.checkpoint import TOKENIZER_FILES, Checkpoint
from fusion_ui.checkpoints.heads import output_parameters
from fusion_ui.checkpoints.loading import load_pretrained
from fusion_ui.errors import CheckpointError
from fusion_ui.sources.files import replace_directory
from fusion_ui.sources.local import is_directory

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"

CLASSIFIER = "AutoModelForSequenceClassification"
_ADAPTED = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "TOKEN_CLS": "AutoModelForTokenClassification",
}
"""What PEFT calls a task -> the class of transformers that loads its base; a text classifier where it says nothing."""


def is_adapter(directory: Path) -> bool:
    """True for a directory that holds an adapter and no whole model."""
    return is_directory(directory) and (directory / CONFIG_FILE).is_file() and not (directory / "config.json").is_file()


def read_adapter_config(adapter: Path) -> dict[str, Any]:
    """The content of ``adapter_config.json``.

    Raises:
        CheckpointError: it cannot be read, or the weights are not in safetensors.
    """
    if not (adapter / WEIGHTS_FILE).is_file():
        raise CheckpointError(f"The adapter {adapter} has no {WEIGHTS_FILE}. Save it with save_pretrained again.")
    try:
        config = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{adapter / CONFIG_FILE} cannot be read ({error}). Save the adapter again.") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{adapter / CONFIG_FILE} is not a JSON object. Save the adapter again.")
    return config


def adapter_bytes(adapter: Path) -> int:
    """Size of the adapter's weights."""
    return (adapter / WEIGHTS_FILE).stat().st_size


def fold_adapter(
    adapter: Path, base: Checkpoint, cache: Path, merge: Callable[[Path, Path, Path], None] | None = None
) -> Path:
    """The directory in `cache` of the adapter folded into `base`, made the first time.

    Args:
        merge: from directories of base and adapter to a new one; `merge_adapter` where it is None.

    Raises:
        CheckpointError: the adapter does not fit the base, or neither of them has a classification head.
    """
    digest = hashlib.sha256(f"{base.fingerprint} {base.tokenizer_fingerprint}".encode())
    for name in (CONFIG_FILE, WEIGHTS_FILE, *TOKENIZER_FILES):
        if (adapter / name).is_file():
            digest.update(name.encode() + (adapter / name).read_bytes())
    out = cache / digest.hexdigest()[:32]
    if not out.is_dir():
        with replace_directory(out) as temporary:
            (merge or merge_adapter)(base.directory, adapter, temporary)
    return out


def merge_adapter(base: Path, adapter: Path, out: Path) -> None:
    """Fold the adapter into its base and write a checkpoint with the base's tokenizer to the directory `out`.

    Args:
        base: directory of the base checkpoint, classification head included unless the adapter brings its own.
        adapter: directory with ``adapter_config.json`` and ``adapter_model.safetensors``.

    Raises:
        CheckpointError: the adapter does not fit the base, or neither of them has a classification head.
    """
    from peft import PeftModel

    shapes = _shapes(adapter)
    try:
        auto_class = _ADAPTED.get(str(read_adapter_config(adapter).get("task_type")), CLASSIFIER)
        model, info = load_pretrained(base, auto_class, output_loading_info=True, **_head_size(shapes))
        missing = [name for name in info["missing_keys"] if not any(name in key for key in shapes)]
        if missing:
            raise CheckpointError(
                f"The adapter {adapter.name} and its base {base.name} have no {missing[0]}. "
                "Give the base model with the head that the adapter was trained with."
            )
        # On the CPU, as the base; PEFT alone would choose a GPU where torch says that it has one.
        adapted = PeftModel.from_pretrained(model, str(adapter), torch_device="cpu")
        model = adapted.merge_and_unload(safe_merge=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise CheckpointError(f"The adapter {adapter.name} does not fit its base {base.name}: {reason}") from None
    model.save_pretrained(out)
    for folder in (base, adapter):  # an adapter that brings its tokenizer was trained with it
        for name in TOKENIZER_FILES:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, out / name)


def _shapes(adapter: Path) -> dict[str, tuple[int, ...]]:
    """Names in the adapter without PEFT's additions -> shapes."""
    try:
        with safe_open(adapter / WEIGHTS_FILE, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{adapter / WEIGHTS_FILE} cannot be read: {error}. Save the adapter again.") from None
    return {key.removeprefix("base_model.model.").replace(".modules_to_save", ""): s for key, s in shapes.items()}


def _head_size(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """How the base is loaded where the adapter brings a head: with as many labels, whatever head it has itself."""
    rows = [shapes[name][0] for name in output_parameters(shapes)]
    return {"num_labels": rows[0], "ignore_mismatched_sizes": True} if rows else {}
