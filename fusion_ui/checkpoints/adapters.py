"""PEFT adapters become plain checkpoints: the low-rank update is folded into the base weights."""

from __future__ import annotations

import shutil
from pathlib import Path

from fusion_ui.checkpoints.loading import load_classifier


def merge_adapter(base: Path, adapter: Path, out: Path) -> None:
    """Fold the adapter into its base and write a checkpoint with the base's tokenizer to the directory `out`.

    Args:
        base: directory of the base checkpoint, classification head included.
        adapter: directory with ``adapter_config.json`` and ``adapter_model.safetensors``.
    """
    from peft import PeftModel

    model = PeftModel.from_pretrained(load_classifier(base), str(adapter)).merge_and_unload(safe_merge=True)
    model.save_pretrained(out)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (base / name).exists():
            shutil.copyfile(base / name, out / name)
